// Package oci gives a program libcontainer, the code of runc, to run commands with: imported for
// that effect alone, as database drivers are,
//
//	import _ "github.com/oakum-build/oakum/builder/oci"
//
// it makes isolation.OCI a sandbox that builder.Cmd can ask for. It needs Linux, cgo, a C compiler and
// libseccomp, and the build tag seccomp; built otherwise, it has no effect, and a command that asks for
// isolation.OCI is refused with a *builder.HostError. The command oakum imports it.
package oci
