//go:build linux

package layertar

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	digest "github.com/opencontainers/go-digest"
)

type files string

func (dir files) Get(name string) (io.ReadCloser, error) {
	return os.Open(filepath.Join(string(dir), name))
}

// TestAssemble makes a layer's tar again, and refuses to when a file is another.
func TestAssemble(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"empty": "", "small": "text", "large": strings.Repeat("0123456789", assembleBlock/4)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var split bytes.Buffer
	made, err := Upper{Dir: open(t, dir)}.Digest(&split)
	if err != nil {
		t.Fatal(err)
	}
	var tar bytes.Buffer
	if err := Assemble(bytes.NewReader(split.Bytes()), files(dir), &tar); err != nil {
		t.Fatal(err)
	}
	if got := digest.FromBytes(tar.Bytes()); got != made.DiffID || int64(tar.Len()) != made.Size {
		t.Errorf("%d bytes with %s, want %d with %s", tar.Len(), got, made.Size, made.DiffID)
	}
	for _, changed := range [][2]string{{"small", "next"}, {"large", "short"}} {
		name, text := changed[0], changed[1]
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := Assemble(bytes.NewReader(split.Bytes()), files(dir), io.Discard); err == nil {
			t.Errorf("%s was changed, and nothing is said", name)
		}
	}
}
