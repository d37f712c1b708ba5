// Package e2e drives bin/oakum as a user does, on real base images and in real
// stores, and compares what it builds with what Debian's buildah builds. It runs as
// whoever runs it. Build bin/oakum first; make test does.
package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/oakum-build/oakum/hack/baseimage"
)

var (
	checkout       string // the root of this repository
	oakum          string // the binary under test
	registriesConf string // finds the base images
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
	for _, tool := range []string{oakum, "podman", "buildah", "skopeo", "runc"} {
		if _, err := exec.LookPath(tool); err != nil {
			return 1, fmt.Errorf("%w; run these tests by make test", err)
		}
	}
	address := os.Getenv("OAKUM_TEST_REGISTRY")
	if address == "" {
		images, err := baseimage.Make(ctx, filepath.Join(checkout, ".cache"))
		if err != nil {
			return 1, err
		}
		if address, err = baseimage.Serve(ctx, images, "127.0.0.1:0"); err != nil {
			return 1, err
		}
	}
	dir, err := os.MkdirTemp("", "oakum-e2e-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	registriesConf = filepath.Join(dir, "registries.conf")
	if err := os.WriteFile(registriesConf, []byte(baseimage.RegistriesConf(address)), 0o644); err != nil {
		return 1, err
	}
	return m.Run(), nil
}
