package main

import _ "github.com/oakum-build/oakum/builder/oci" // --isolation oci
