//go:build linux

// Package oci makes the worker wait for package builder/oci.
package oci

import "github.com/oakum-build/oakum/builder/internal/userns"

func init() { userns.Awaited++ }
