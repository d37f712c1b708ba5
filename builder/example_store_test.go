//go:build linux

package builder_test

import (
	"archive/tar"
	"bytes"
	"context"
	"os"

	"github.com/oakum-build/oakum/builder"
)

// must gives a value, or ends the example.
func must[T any](v T, err error) T {
	check(err)
	return v
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

var exampleDirs []string

// exampleDir is a directory that the example's clean-up removes.
func exampleDir() string {
	dir := must(os.MkdirTemp("", "oakum-example-"))
	exampleDirs = append(exampleDirs, dir)
	return dir
}

// exampleStore is a store with an image called busybox.
func exampleStore() (root string, cleanUp func()) {
	root = exampleDir()
	ctx := context.Background()
	b := must(builder.Open(ctx, builder.Options{Root: root}))
	s := must(b.Stage(ctx, builder.Scratch, builder.StageOptions{}))
	must(s.Copy(ctx, "/", builder.Dir(baseDir)))
	s.Configure("", func(c *builder.Config) { c.Cmd = []string{"sh"} })
	must(s.Commit(ctx, "busybox", builder.CommitOptions{}))
	check(b.Close())
	return root, func() {
		for _, dir := range exampleDirs {
			check(removeStore(dir))
		}
		exampleDirs = nil
	}
}

func exampleBuilder() (b *builder.Builder, cleanUp func()) {
	root, remove := exampleStore()
	b = must(builder.Open(context.Background(), builder.Options{Root: root}))
	return b, func() { check(b.Close()); remove() }
}

// exampleTar is an archive with an empty file.
func exampleTar(name string) []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	check(w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}))
	check(w.Close())
	return buf.Bytes()
}
