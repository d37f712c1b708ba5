//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
)

// largeBytes is the size of one file, and of the layer that it is in.
const largeBytes = 1 << 30

// large is a layer that is made, written to an archive and read again: what counts is the memory.
func (b *bench) large() benchCase {
	one := func(name, store string, flags, build []string) contender {
		return contender{name, b.writeLarge, func() error {
			flags := append(b.place(store), flags...)
			archive := "oci-archive:" + b.path(store+".tar")
			for _, args := range [][]string{
				append(append([]string{"build", "-q", "--no-cache", "-t", "large"}, build...), b.path("large")),
				{"push", "-q", "large", archive}, {"rmi", "large"}, {"pull", "-q", archive}, {"rmi", "--all"},
			} {
				if err := b.command(b.oakum, append(flags, args...)...); err != nil {
					return err
				}
			}
			return os.Remove(b.path(store + ".tar"))
		}}
	}
	return benchCase{"large", fmt.Sprintf("a layer of %d MiB made, pushed to an archive, and pulled", largeBytes>>20), []contender{
		one("oakum", "large-overlay", []string{"--storage-driver", "overlay"}, nil),
		one("oakum, trees", "large-tree", []string{"--storage-driver", "tree"}, []string{"--isolation", "chroot"}),
	}}
}

// writeLarge writes the context of large, once.
func (b *bench) writeLarge() error {
	name := b.path("large/file")
	if _, err := os.Stat(name); err == nil {
		return b.settle()
	}
	if err := writeContext(b.path("large"), "FROM scratch\nCOPY file /\n"); err != nil {
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, rand.NewChaCha8([32]byte{}), largeBytes)
	return errors.Join(err, f.Close(), b.settle())
}
