//go:build linux && cgo && seccomp

package oci

import (
	_ "github.com/oakum-build/oakum/builder/internal/awaited/oci"
	"github.com/oakum-build/oakum/builder/internal/sandbox/oci"
	"github.com/oakum-build/oakum/builder/internal/worker"
	"github.com/oakum-build/oakum/builder/isolation"
)

func init() {
	worker.Register(isolation.OCI, oci.New)
	worker.Arrived()
}
