//go:build linux

package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// writeImage writes what the image is made of: busybox with oakum, the examples, and settings that
// find the base images.
func (w *world) writeImage() error {
	dir := filepath.Join(w.dir, "image")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	program, err := os.ReadFile(filepath.Join(w.checkout, "bin", "oakum"))
	if err != nil {
		return err
	}
	registries, err := os.ReadFile(filepath.Join(w.dir, "registries.container.conf"))
	if err != nil {
		return err
	}
	var files bytes.Buffer
	tw := tar.NewWriter(&files)
	return errors.Join(
		putFile(tw, "usr/local/bin/oakum", 0o755, program),
		putFile(tw, "etc/containers/registries.conf", 0o644, registries),
		// For those who have no home.
		putFile(tw, "etc/containers/scratch.conf", 0o644, []byte("[storage]\ndriver = \"overlay\"\ngraphroot = \"/scratch/store\"\nrunroot = \"/scratch/run\"\n")),
		putTree(tw, os.DirFS(filepath.Join(w.checkout, "examples")), "examples"),
		tw.Close(),
		os.WriteFile(filepath.Join(dir, "files.tar"), files.Bytes(), 0o644),
		os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM docker.io/library/busybox\nADD files.tar /\n"), 0o644))
}

func putFile(tw *tar.Writer, name string, mode int64, content []byte) error {
	if err := tw.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(content))}); err != nil {
		return err
	}
	_, err := tw.Write(content)
	return err
}

func putTree(tw *tar.Writer, tree fs.FS, below string) error {
	return fs.WalkDir(tree, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := fs.ReadFile(tree, path)
		if err != nil {
			return err
		}
		return putFile(tw, below+"/"+path, 0o644, content)
	})
}
