//go:build linux && !amd64 && !arm64

// Package thread is the sandbox that oakum has of its own, on x86-64 and arm64.
package thread

import "github.com/oakum-build/oakum/builder/internal/sandbox"

// New makes a sandbox that refuses every command.
func New(string) sandbox.Sandbox { return none() }

// NewChroot makes another one.
func NewChroot(string) sandbox.Sandbox { return none() }

// NewShared makes another one.
func NewShared(string) sandbox.Sandbox { return none() }

func none() sandbox.Sandbox {
	return sandbox.None{Why: sandbox.HostError{
		Missing: "oakum's own sandbox is made for x86-64 and arm64 alone",
		Remedy:  "use a program that was built with cgo and imports the package builder/oci, and ask for the sandbox oci",
	}}
}
