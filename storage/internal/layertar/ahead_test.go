//go:build linux

package layertar

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	digest "github.com/opencontainers/go-digest"
	tarsplit "github.com/vbatts/tar-split/tar/storage"
	"golang.org/x/sys/unix"
)

// aheadSizes are those of files, around the sizes of blocks and of what they have room for.
var aheadSizes = []int{
	0, 1, 511, 512, 513, leastRoom - 1, leastRoom, leastRoom + 1, firstSize, 0, crcLeast, blockSize - 512, blockSize - 1, blockSize, blockSize + 1,
	blockCount*blockSize + 3, 7, 3*blockCount*blockSize - 1, 100, 0,
}

// TestAheadIsRead makes the stream of a directory ahead, and reads it: the digest and the records are the same, and the
// records give a tar of that digest.
func TestAheadIsRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	content := make([]byte, 3*blockCount*blockSize+len(aheadSizes))
	_, _ = rand.NewChaCha8([32]byte{5}).Read(content) // never fails
	var ahead, read, tar bytes.Buffer
	a := NewAhead(&ahead)
	for i, size := range aheadSizes {
		name := fmt.Sprintf("%02d", i)
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content[i:][:size], 0o644); err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		a.Add(name, &st, "", "", nil)
		for left := content[i:][:size]; len(left) > 0; {
			room := a.Room()
			if len(room) < leastRoom {
				t.Fatalf("room for %d bytes", len(room))
			}
			n := copy(room, left)
			a.Filled(n)
			left = left[n:]
		}
	}
	u := Upper{Dir: open(t, dir)}
	got, ok, err := a.Confirm(u)
	if err != nil || !ok {
		t.Fatalf("not confirmed: %v", err)
	}
	want, err := u.Digest(&read)
	if err != nil || got.DiffID != want.DiffID || got.Size != want.Size {
		t.Errorf("%d bytes with %s, and read %d with %s, %v", got.Size, got.DiffID, want.Size, want.DiffID, err)
	}
	if !bytes.Equal(ahead.Bytes(), read.Bytes()) {
		t.Error("the records are not those of the directory that was read")
	}
	if err := Assemble(&ahead, tarsplit.NewPathFileGetter(dir), &tar); err != nil {
		t.Fatal(err)
	}
	if sum := digest.FromBytes(tar.Bytes()); sum != got.DiffID || int64(tar.Len()) != got.Size {
		t.Errorf("the records give %d bytes with %s, want %d with %s", tar.Len(), sum, got.Size, got.DiffID)
	}
}

// TestAheadOfAnother tells of more or less content than was said, or of another: it is not confirmed, and takes nothing more.
func TestAheadOfAnother(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(path, make([]byte, 10), 0o644); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		size int64
		n    []int
		want bool
	}{{"all", 10, []int{10}, true}, {"in parts", 10, []int{3, 0, 7}, true}, {"less", 10, []int{9}, false}, {"none", 10, nil, false}, {"more", 10, []int{10, 1}, false},
		{"more at once", 10, []int{11}, false}, {"of an empty file", 0, []int{10}, false}, {"another length", 9, []int{9}, false}} {
		a := NewAhead(&bytes.Buffer{})
		is := st
		is.Size = test.size
		a.Add("f", &is, "", "", nil)
		for _, n := range test.n {
			clear(a.Room()[:n])
			a.Filled(n)
		}
		if _, ok, err := a.Confirm(Upper{Dir: open(t, dir)}); err != nil || ok != test.want {
			t.Errorf("%s: confirmed %t, %v", test.name, ok, err)
		}
		if a.Going() || a.Room() != nil {
			t.Errorf("%s: it goes on", test.name)
		}
		a.Filled(1)
	}
}
