// Package awaited explains the packages below it. Each, imported, makes the worker wait until one package
// that imports it has been initialised and has called worker.Arrived.
//
// The worker begins in an init function, so that a program's own code is never run in it, and does not
// end. A package that brings something for it must be initialised before; but the worker, which cannot
// import such a package, may come first. Of the packages that are ready, Go initialises them
// in the order of their paths (language specification, "Program initialization"): those below this one, which
// need less than the worker and whose paths come before the worker's, are always first. Of all that
// bring something, the last to be initialised enters the worker.
package awaited
