// Package baseimage makes the base images that the examples, the tests and the
// benchmark start from, and serves them on a loopback registry under Docker Hub's
// names, so that none of these needs an image registry:
//
//   - busybox (latest, 1.36): the host's static busybox with its applets. The same
//     image is served as alpine (latest, 3); it has no apk and no musl.
//   - debian (bookworm-slim, latest): made by mmdebstrap, with a working apt.
//   - golang (1.26, latest): that Debian plus the host's Go in /usr/local/go.
//   - arm64v8/debian (bookworm-slim), on arm64 amd64/debian: a Debian for another processor, with apt
//     and a shell. Its packages are unpacked and not configured, for that would execute its programs.
//
// The images are kept as an OCI layout and made only when it is missing.
package baseimage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"
)

// recipe is part of a layout's directory name; change it when what Make makes changes.
const recipe = "1"

// created is the time of every image and of every file that has none of its own.
var created = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// refName is the OCI layout annotation that holds an image's repository and tag.
const refName = "org.opencontainers.image.ref.name"

// Make returns the directory of an OCI layout with all base images, a directory
// under cache. It makes them when they are missing; progress is told on standard
// error. Several processes may call it at once for the same cache.
func Make(ctx context.Context, cache string) (string, error) {
	goroot, goversion, err := hostGo(ctx)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "bases-"+recipe+"-"+goversion)
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(filepath.Join(cache, "bases.lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); err != nil {
		if err := makeNatives(ctx, cache, dir, goroot, goversion); err != nil {
			return "", err
		}
	}
	return dir, makeForeign(ctx, cache, filepath.Join(dir, foreignDir))
}

// makeNatives makes the layout dir.
func makeNatives(ctx context.Context, cache, dir, goroot, goversion string) error {
	tmp, err := os.MkdirTemp(cache, "bases-making-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := makeAll(ctx, tmp, goroot, goversion); err != nil {
		return fmt.Errorf("making the base images: %w", err)
	}
	return os.Rename(filepath.Join(tmp, "layout"), dir)
}

// makeAll writes the layout to tmp/layout and leaves its working files in tmp.
func makeAll(ctx context.Context, tmp, goroot, goversion string) error {
	out, err := layout.Write(filepath.Join(tmp, "layout"), empty.Index)
	if err != nil {
		return err
	}
	busybox, err := busyboxImage(ctx)
	if err != nil {
		return fmt.Errorf("busybox: %w", err)
	}
	if err := add(out, busybox, runtime.GOARCH, "library/busybox:latest", "library/busybox:1.36",
		"library/alpine:latest", "library/alpine:3"); err != nil {
		return err
	}
	debian, err := debianImage(ctx, tmp)
	if err != nil {
		return fmt.Errorf("debian: %w", err)
	}
	if err := add(out, debian, runtime.GOARCH, "library/debian:bookworm-slim", "library/debian:latest"); err != nil {
		return err
	}
	golang, err := golangImage(debian, goroot, strings.TrimPrefix(goversion, "go"))
	if err != nil {
		return fmt.Errorf("golang: %w", err)
	}
	return add(out, golang, runtime.GOARCH, "library/golang:1.26", "library/golang:latest")
}

// add writes img, for an architecture, to out, wrapped in an index as Docker Hub has it, once for each name.
func add(out layout.Path, img v1.Image, arch string, names ...string) error {
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
		mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	for _, name := range names {
		annotation := layout.WithAnnotations(map[string]string{refName: name})
		if err := out.AppendIndex(index, annotation); err != nil {
			return err
		}
	}
	return nil
}

// image is base with one more layer and the given configuration.
func image(base v1.Image, layer v1.Layer, createdBy string, config v1.Config) (v1.Image, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(base, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.Append(img, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: v1.Time{Time: created}, CreatedBy: createdBy},
	})
	if err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.Created = v1.Time{Time: created}
	file.OS, file.Architecture = "linux", runtime.GOARCH
	file.Config = config
	return mutate.ConfigFile(img, file)
}

// hostGo finds the Go that the golang image will carry.
func hostGo(ctx context.Context) (goroot, version string, err error) {
	out, err := output(exec.CommandContext(ctx, "go", "env", "GOROOT", "GOVERSION"))
	if err != nil {
		return "", "", err
	}
	goroot, version, ok := strings.Cut(strings.TrimSpace(out), "\n")
	if !ok {
		return "", "", fmt.Errorf("go env GOROOT GOVERSION printed %q", out)
	}
	return goroot, version, nil
}

// lock takes an exclusive lock on path; it ends with the process, too.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// output runs a command and returns what it printed; its standard error is part of
// the error.
func output(cmd *exec.Cmd) (string, error) {
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, exit.Stderr)
	}
	return string(out), err
}
