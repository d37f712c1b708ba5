//go:build linux

package storage

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	digest "github.com/opencontainers/go-digest"

	"github.com/oakum-build/oakum/storage/platform"
	"github.com/oakum-build/oakum/storage/registry"
)

// openTree opens a store with the driver tree.
func openTree(t testing.TB, root string) *Store {
	t.Helper()
	s, err := Open(Options{Root: root, Driver: DriverTree})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// aTar is a tar with one file.
func aTar(t testing.TB, name, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o4755, Uid: 12345, Gid: 54321, Size: int64(len(text))})
	if err == nil {
		_, err = io.WriteString(w, text)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// tarOf reads what OpenTar gives.
func tarOf(t testing.TB, s *Store, l *Layer) []byte {
	t.Helper()
	f, err := s.OpenTar(l)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return data
}

func TestMakeTar(t *testing.T) {
	t.Parallel()
	s := openTree(t, t.TempDir())
	if s.Driver() != DriverTree {
		t.Fatal(s.Driver())
	}
	var top *Layer
	for i, size := range []int{0, 1, digesterBlock, 5*digesterBlock + 7} {
		want := aTar(t, fmt.Sprint("f", i), string(bytes.Repeat([]byte{'a'}, size)))
		l, err := s.MakeTar(t.Context(), top, func(w io.Writer) ([]string, error) {
			_, err := io.Copy(w, bytes.NewReader(want))
			return []string{"lost"}, err
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := tarOf(t, s, l); !bytes.Equal(got, want) {
			t.Errorf("%d bytes: another tar while it is being registered", size)
		}
		if err := l.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := tarOf(t, s, l); !bytes.Equal(got, want) || l.DiffID() != digest.FromBytes(want) || l.Size() != int64(len(want)) {
			t.Errorf("%d bytes: another tar, %s of %d bytes", size, l.DiffID(), l.Size())
		}
		if l.Parent() != top || len(l.Notices()) != 1 {
			t.Errorf("%+v", l)
		}
		top = l
	}
	failure := errors.New("no")
	if _, err := s.MakeTar(t.Context(), top, func(w io.Writer) ([]string, error) {
		_, _ = w.Write(make([]byte, 3*digesterBlock))
		return nil, failure
	}); !errors.Is(err, failure) {
		t.Error(err)
	}
}

// An image goes out of a store and into another, whatever the drivers are.
func TestTarsAreImages(t *testing.T) {
	t.Parallel()
	s := openTree(t, t.TempDir())
	data := aTar(t, "f", "text")
	l, err := s.MakeTar(t.Context(), nil, func(w io.Writer) ([]string, error) {
		_, err := w.Write(data)
		return nil, err
	})
	if err != nil {
		t.Fatal(err)
	}
	img := commit(t, s, l, "localhost/a:1")
	file := "oci-archive:" + filepath.Join(t.TempDir(), "a.tar")
	if _, err := s.Push(t.Context(), "localhost/a:1", file, PushOptions{Format: "oci"}, registry.Access{}); err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	stores := []*Store{openTree(t, root)}
	if driver() == DriverOverlay { // elsewhere it may be that it cannot be opened
		stores = append(stores, openOverlay(t, root))
	}
	for _, to := range stores {
		got, err := to.Pull(t.Context(), file, platform.Platform{}, registry.Access{})
		if err != nil {
			t.Fatal(err)
		}
		top, err := to.Layer(got.TopLayer)
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(tarOf(t, to, top)); got.ID != img.ID || fmt.Sprintf("sha256:%x", sum) != l.DiffID().String() {
			t.Errorf("%s: %+v with %x", to.Driver(), got, sum)
		}
	}
}

func openOverlay(t testing.TB, root string) *Store {
	t.Helper()
	s, err := Open(Options{Root: root, Rootless: os.Getenv(usernsEnv) != "", Driver: DriverOverlay})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
