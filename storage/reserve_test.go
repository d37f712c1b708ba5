//go:build linux

package storage

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/usage"
)

// filled takes all that a file system has left.
func filled(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 64 << 10; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
}

// Of a store whose file system is full images and layers can be removed all the same, by a program that has it open as
// by one that opens it then.
func TestFullStoreIsEmptied(t *testing.T) {
	ofOverlay(t) // that is, where something can be mounted
	for name, again := range map[string]bool{"open": false, "opened": true} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=24m"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = unix.Unmount(root, unix.MNT_DETACH) })
			store := filepath.Join(root, "store")
			s := openIn(t, store)
			defer func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}()
			fill := func() {
				filled(t, filepath.Join(root, "fill"))
				if !again {
					return
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				filled(t, filepath.Join(root, "fill"))
				s = openIn(t, store)
			}
			text := strings.Repeat("x", 1<<20)
			for _, name := range []string{"a", "b"} {
				commit(t, s, layer(t, s, nil, name, text+name), name)
			}
			layer(t, s, nil, "c", text)
			fill()
			if _, err := s.Remove("a", false, false); err != nil {
				t.Fatal(err)
			}
			if free, err := s.free(); err != nil || free < 1<<20 {
				t.Errorf("after an image of 1 MiB was removed %d bytes are free, %v", free, err)
			}
			if err := os.Truncate(filepath.Join(root, "fill"), 10<<20); err != nil { // it is had again where there is room in plenty
				t.Fatal(err)
			}
			s.keepReserve()
			fill()
			if out, err := s.Prune(t.Context(), usage.Options{}); err != nil || out.Layers != 1 {
				t.Errorf("%d layers were pruned, %v", out.Layers, err)
			}
		})
	}
}
