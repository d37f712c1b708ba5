//go:build linux

package layertar

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A command may set the attribute of the mode that is not in use: it must not hide what
// is below.
func TestOpaque(t *testing.T) {
	const attr = "user.overlay.opaque"
	upper, lower := t.TempDir(), t.TempDir()
	for _, dir := range []string{upper, lower} {
		if err := os.Mkdir(filepath.Join(dir, "d"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Setxattr(filepath.Join(upper, "d"), attr, []byte("y"), 0); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		attr string
		want bool
	}{{attr, true}, {"trusted.overlay.opaque", false}} {
		var split bytes.Buffer
		if _, err := (Upper{Dir: open(t, upper), Lowers: []*os.File{open(t, lower)}, Opaque: test.attr}).Digest(&split); err != nil {
			t.Fatal(err)
		}
		if got := bytes.Contains(split.Bytes(), []byte(`"d/.wh..wh..opq"`)); got != test.want {
			t.Errorf("by %s: opaque is %t, want %t", test.attr, got, test.want)
		}
	}
}

// What lies in the way in one layer, or is not there, does not end the search in those below it.
func TestOpaqueOverOthers(t *testing.T) {
	t.Parallel()
	none, file, link, dir := t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()
	if err := errors.Join(os.WriteFile(file+"/d", nil, 0o644), os.Symlink("/", link+"/d"), os.MkdirAll(dir+"/d/e", 0o755)); err != nil {
		t.Fatal(err)
	}
	w := &walker{Upper: Upper{Lowers: []*os.File{open(t, none), open(t, file), open(t, link)}}}
	if there, err := w.inLower("d/e"); there || err != nil {
		t.Errorf("it is there: %t, %v", there, err)
	}
	w.Lowers = append(w.Lowers, open(t, dir))
	if there, err := w.inLower("d/e"); !there || err != nil {
		t.Errorf("it is there: %t, %v", there, err)
	}
}

// A layer below that cannot be searched has nothing to say of what is hidden: without the mark, that would
// come back.
func TestOpaqueOverWhatFails(t *testing.T) {
	t.Parallel()
	const attr = "user.overlay.opaque"
	upper, lower := t.TempDir(), open(t, t.TempDir())
	if err := errors.Join(os.Mkdir(upper+"/d", 0o755), unix.Setxattr(upper+"/d", attr, []byte("y"), 0), lower.Close()); err != nil {
		t.Fatal(err)
	}
	var split bytes.Buffer
	_, err := (Upper{Dir: open(t, upper), Lowers: []*os.File{lower}, Opaque: attr}).Digest(&split)
	if !errors.Is(err, unix.EBADF) {
		t.Errorf("the layer is made: %v", err)
	}
	a := NewAhead(&split)
	defer a.GiveUp()
	if _, ok, err := a.Confirm(Upper{Dir: open(t, upper), Lowers: []*os.File{lower}, Opaque: attr}); ok || !errors.Is(err, unix.EBADF) {
		t.Errorf("the layer is confirmed: %t, %v", ok, err)
	}
}

// Only an answer says that a directory is not opaque.
func TestIsOpaque(t *testing.T) {
	t.Parallel()
	w := &walker{Upper: Upper{Opaque: "user.overlay.opaque"}}
	for value, want := range map[string]bool{"": false, "y": true, "n": false, "yes": false} {
		dir := open(t, t.TempDir())
		if err := unix.Fsetxattr(int(dir.Fd()), w.Opaque, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
		if got, err := w.isOpaque(dir); got != want || err != nil {
			t.Errorf("%q: opaque is %t, %v", value, got, err)
		}
	}
	for _, without := range []string{t.TempDir(), "/proc"} { // one file system has such attributes, the other has not
		if got, err := w.isOpaque(open(t, without)); got || err != nil {
			t.Errorf("%s: opaque is %t, %v", without, got, err)
		}
	}
	closed := open(t, t.TempDir())
	closed.Close()
	if _, err := w.isOpaque(closed); !errors.Is(err, unix.EBADF) {
		t.Errorf("of what cannot be read: %v", err)
	}
}

func open(t *testing.T, dir string) *os.File {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
