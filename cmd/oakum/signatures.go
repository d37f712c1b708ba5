package main

import _ "github.com/oakum-build/oakum/builder/signatures" // policy.json
