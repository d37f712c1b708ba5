package blobs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	digest "github.com/opencontainers/go-digest"
)

func open(t testing.TB) (*Dir, string) {
	t.Helper()
	path := t.TempDir()
	d, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, path
}

func blob(n int) Blob {
	return Blob{Digest: digest.FromString(fmt.Sprint("blob ", n)), Size: int64(n), Algorithm: "gzip", Repository: fmt.Sprintf("h.example/%d", n)}
}

func digests(all []Blob) string {
	var sizes []string
	for _, b := range all {
		sizes = append(sizes, fmt.Sprint(b.Size))
	}
	return strings.Join(sizes, " ")
}

// What was put is given again, the last first, once, and of the layer alone.
func TestDir(t *testing.T) {
	d, _ := open(t)
	layer, other := digest.FromString("layer"), digest.FromString("other")
	for _, n := range []int{1, 2, 2, 3, 1} {
		if err := d.Put(layer, blob(n)); err != nil {
			t.Fatal(err)
		}
	}
	if got := digests(d.Of(layer)); got != "3 2 1" {
		t.Errorf("got %s", got)
	}
	if got := d.Of(other); got != nil {
		t.Errorf("of another: %v", got)
	}
	if got := d.Of(layer)[0]; !equal(got, blob(3)) {
		t.Errorf("got %+v", got)
	}
	for _, bad := range []Blob{{}, {Digest: "sha256:../../x", Size: 1}, {Digest: blob(1).Digest, Size: -1}} {
		if d.Put(layer, bad) == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
	if d.Put("sha256:../x", blob(1)) == nil || d.Of("sha256:../x") != nil {
		t.Error("a layer that is no digest")
	}
	if err := d.Keep(func(d digest.Digest) bool { return d != layer }); err != nil || d.Of(layer) != nil {
		t.Errorf("after Keep: %v, %v", d.Of(layer), err)
	}
}

// Lines that are damaged or of another layer are passed over, and what follows them is not.
func TestDamage(t *testing.T) {
	d, path := open(t)
	layer := digest.FromString("layer")
	file := filepath.Join(path, layer.Encoded())
	if err := d.Put(layer, blob(1)); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"cut short":    string(whole[:len(whole)-9]),
		"changed":      strings.Replace(string(whole), `"size":1`, `"size":9`, 1),
		"nothing":      "",
		"not ours":     "x\x00\n{}\n",
		"far too long": strings.Repeat("x", maxFile+1),
	} {
		if err := os.WriteFile(file, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := d.Of(layer); got != nil {
			t.Errorf("%s: %v", name, got)
		}
		if err := d.Put(layer, blob(2)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := digests(d.Of(layer)); got != "2" {
			t.Errorf("%s, then one is put: %q", name, got)
		}
	}
	if err := os.WriteFile(filepath.Join(path, digest.FromString("other").Encoded()), whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := d.Of(digest.FromString("other")); got != nil {
		t.Errorf("a file of another layer: %v", got)
	}
}

// Neither files nor their number grow without end.
func TestBounds(t *testing.T) {
	d, path := open(t)
	d.most = 40
	layer := digest.FromString("layer")
	for n := range 3 * keptLines {
		if err := d.Put(layer, blob(n)); err != nil {
			t.Fatal(err)
		}
		if got := d.Of(layer); got[0].Size != int64(n) || len(got) > 2*keptLines {
			t.Fatalf("after %d: %d blobs, the last %d", n, len(got), got[0].Size)
		}
	}
	for n := range d.most {
		if err := os.WriteFile(filepath.Join(path, digest.FromString(fmt.Sprint(n)).Encoded()), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Put(digest.FromString("one more"), blob(1)); err != nil {
		t.Fatal(err)
	}
	names, err := os.ReadDir(path)
	if err != nil || len(names) > d.most/2+2 {
		t.Errorf("%d files, %v", len(names), err)
	}
	if d.Of(digest.FromString("one more")) == nil {
		t.Error("the new one is not there")
	}
}

// Several may write at once.
func TestTogether(t *testing.T) {
	d, _ := open(t)
	for round := range 20 { // the first in a file is the one that is lost otherwise
		layer := digest.FromString(fmt.Sprint("layer", round))
		var all sync.WaitGroup
		for n := range keptLines {
			all.Go(func() {
				if err := d.Put(layer, blob(n)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if got := d.Of(layer); len(got) != keptLines {
			t.Errorf("%d blobs of %d", len(got), keptLines)
		}
	}
}

func FuzzParse(f *testing.F) {
	layer := digest.FromString("layer")
	f.Add(`{"digest":"` + string(layer) + `","size":1,"algorithm":"gzip"}`)
	f.Add(`{"digest":"sha256:..","size":-1}`)
	f.Add(`[1 2]`)
	f.Fuzz(func(t *testing.T, text string) {
		for _, line := range []string{text, text + " " + check(layer, text)} {
			if b, ok := parse(layer, line); ok && b.valid() != nil {
				t.Errorf("%q gave %+v", line, b)
			}
		}
	})
}
