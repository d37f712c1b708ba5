package baseimage

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// foreignDir is the layout of the images for another processor, in that of the others. Its number
// changes with what is made.
const foreignDir = "foreign-1"

// foreign is the other processor, and the repository that its images have at Docker Hub.
func foreign() (arch, repository string) {
	if runtime.GOARCH == "arm64" {
		return "amd64", "amd64"
	}
	return "arm64", "arm64v8"
}

// makeForeign makes the layout dir unless it is there.
func makeForeign(ctx context.Context, cache, dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	tmp, err := os.MkdirTemp(cache, "bases-making-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	out, err := layout.Write(filepath.Join(tmp, "layout"), empty.Index)
	if err != nil {
		return err
	}
	arch, repository := foreign()
	debian, err := unpackedDebian(ctx, tmp, arch)
	if err == nil {
		err = add(out, debian, arch, repository+"/debian:bookworm-slim")
	}
	if err != nil {
		return fmt.Errorf("making the debian image for %s: %w", arch, err)
	}
	return os.Rename(filepath.Join(tmp, "layout"), dir)
}

// unpackedDebian has what a shell and apt-get need, as it is in the packages: no program of the
// other processor is executed, so that this machine needs no emulator to make it.
func unpackedDebian(ctx context.Context, tmp, arch string) (v1.Image, error) {
	root := filepath.Join(tmp, "debian.tar")
	fmt.Fprintf(os.Stderr, "making debian:bookworm-slim for %s with mmdebstrap (once; less than a minute)\n", arch)
	err := mmdebstrap(ctx, "--arch="+arch, "--variant=extract", "--include=base-files,dash,coreutils,apt", "--skip=output/dev",
		"bookworm", root, "deb http://deb.debian.org/debian bookworm main")
	if err != nil {
		return nil, err
	}
	files, err := layer(func(tw *tar.Writer) error {
		return errors.Join(putFile(tw, "etc/passwd", 0o644, []byte(passwd)), putFile(tw, "etc/group", 0o644, []byte(group)), putTar(tw, root))
	})
	if err != nil {
		return nil, err
	}
	img, err := image(empty.Image, files, "mmdebstrap --variant=extract bookworm",
		v1.Config{Env: []string{"PATH=" + usualPath}, Cmd: []string{"sh"}})
	if err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.Architecture = arch
	return mutate.ConfigFile(img, file)
}
