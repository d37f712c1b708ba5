// Package runinit is the first process of a container: libcontainer re-executes this
// binary for it. The package imports nothing else, so that Go initialises it before
// most of the binary's packages, whose initialisation every command would pay for. Without
// cgo it is empty, for libcontainer needs cgo.
package runinit
