//go:build linux

// Package e2e drives bin/oakum as a user does, on real base images and in real
// stores, and compares what it builds with what Debian's buildah builds. It runs as
// whoever runs it. Build bin/oakum first; make test does.
package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/oakum-build/oakum/hack/internal/home"
)

var (
	checkout string // the root of this repository
	oakum    string // the binary under test
	registry string // the address where the base images are
)

func TestMain(m *testing.M) {
	code, err := setUp(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

// setUp finds the binary and the registry, starts one if hack/test has not, and
// runs the tests.
func setUp(m *testing.M) (int, error) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var err error
	if checkout, err = filepath.Abs("../.."); err != nil {
		return 1, err
	}
	oakum = filepath.Join(checkout, "bin", "oakum")
	if registry, err = home.Registry(ctx, checkout); err != nil {
		return 1, err
	}
	return m.Run(), nil
}
