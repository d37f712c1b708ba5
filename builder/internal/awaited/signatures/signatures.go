//go:build linux

// Package signatures makes the worker wait for package builder/signatures.
package signatures

import "github.com/oakum-build/oakum/builder/internal/userns"

func init() { userns.Awaited++ }
