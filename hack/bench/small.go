//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	sources      = 200
	walkedFiles  = 10000
	walkedBytes  = 1 << 30
	storedBranch = 100 // layers that an image of stored adds
)

// storedLayers are the numbers of layers that stores have in which a build is timed.
var storedLayers = []int{20, 500, 2000}

// writeSmall writes contexts that are small.
func (b *bench) writeSmall() error {
	stages := func(work string) string {
		return fmt.Sprintf("FROM busybox AS one\nRUN %[1]s >/one\nFROM busybox AS two\nRUN %[1]s >/two\nFROM busybox\nCOPY --from=one /one /\nCOPY --from=two /two /\n", work)
	}
	err := errors.Join(
		writeContext(b.path("sleep"), stages("sleep 1 && echo slept")),
		writeContext(b.path("compute"), stages("i=0; while [ $i -lt 600000 ]; do i=$((i+1)); done; echo $i")),
		writeContext(b.path("scratch"), "FROM scratch\nCOPY file /\n"),
		os.WriteFile(b.path("scratch/file"), []byte("a file\n"), 0o644),
		writeContext(b.path("source"), "FROM busybox\nRUN echo a >/a\nRUN echo b >/b\nCOPY src /src\nRUN cat /src/* >/all\nRUN wc -c /all >/size\n"),
		os.MkdirAll(b.path("source/src"), 0o755),
		writeContext(b.path("walked"), "FROM scratch\nCOPY tree /tree\n"),
	)
	for i := range sources {
		err = errors.Join(err, os.WriteFile(b.path(fmt.Sprintf("source/src/%d.c", i)), []byte(strings.Repeat("int x;\n", 500)), 0o644))
	}
	return err
}

// change changes one of the files of source.
func (b *bench) change() error {
	return os.WriteFile(b.path("source/src/7.c"), fmt.Appendf(nil, "// %v\n", time.Now()), 0o644)
}

// walked is a rebuild of a large context with nothing changed, beside a walk that asks for each file's times and size.
func (b *bench) walked() benchCase {
	c := b.rebuilt("walk", fmt.Sprintf("COPY of %d MiB in %d files, cached", walkedBytes>>20, walkedFiles), "walked")
	c.contenders = append(c.contenders, contender{"a walk that looks at each", b.settle, func() error { return look(b.path("walked")) }})
	return b.prepared(func() error { return writeTree(b.path("walked/tree"), walkedFiles, walkedBytes) }, c)
}

func look(dir string) error {
	return filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		_, err = entry.Info()
		return err
	})
}

// stored is a step that is not cached, and then nothing to do, in a store that has many layers already. Oakum fills the
// store, and buildah uses it as well.
func (b *bench) stored(layers int) benchCase {
	store := fmt.Sprintf("stored-%d", layers)
	filled := false
	fill := func() error {
		if filled {
			return b.settle()
		}
		filled = true
		for first := 0; first < layers; first += storedBranch {
			var text strings.Builder
			fmt.Fprintf(&text, "FROM scratch\nLABEL first=%d\n", first)
			for i := first; i < min(first+storedBranch, layers); i++ {
				fmt.Fprintf(&text, "COPY file /%d\n", i)
			}
			err := errors.Join(writeContext(b.path(store+"-context"), text.String()), os.WriteFile(b.path(store+"-context/file"), fmt.Append(nil, first), 0o644))
			if err == nil {
				err = b.command(b.oakum, append(b.store(store), "build", "-q", "-t", fmt.Sprintf("stored-%d", first), b.path(store+"-context"))...)
			}
			if err != nil {
				return err
			}
		}
		return errors.Join(writeContext(b.path(store+"-one"), "FROM busybox\nRUN true\n"), b.settle())
	}
	build := func(program string, flags ...string) func() error {
		return func() error {
			return b.command(program, append(append(b.store(store), flags...), "-t", "one", b.path(store+"-one"))...)
		}
	}
	c := benchCase{store, fmt.Sprintf("one RUN step in a store of %d layers", layers), []contender{
		{"oakum, not cached", fill, build(b.oakum, "build", "-q", "--no-cache")},
		{"oakum, cached", fill, build(b.oakum, "build", "-q")},
	}}
	if b.beside != "" {
		c.contenders = append(c.contenders,
			contender{"oakum beside it, not cached", fill, build(b.beside, "build", "-q", "--no-cache")},
			contender{"oakum beside it, cached", fill, build(b.beside, "build", "-q")})
	}
	bud := []string{"bud", "-q", "--isolation", "oci", "--runtime", "runc", "--network", "host", "--layers"}
	c.contenders = append(c.contenders, contender{"buildah, not cached", fill, build("buildah", append(bud, "--no-cache")...)},
		contender{"buildah, cached", fill, build("buildah", bud...)})
	return c
}
