//go:build linux

package layertar

import (
	"bytes"
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

func open(t *testing.T, dir string) *os.File {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
