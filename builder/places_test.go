//go:build linux

package builder

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder/cache"
	"github.com/oakum-build/oakum/builder/internal/protocol/question"
	"github.com/oakum-build/oakum/builder/internal/wire"
)

// silent is a Place that must not be asked.
type silent struct{ t *testing.T }

func (p silent) Get(_ context.Context, name string) (io.ReadCloser, error) {
	p.t.Errorf("asked for %q", name)
	return nil, fs.ErrNotExist
}

func (p silent) Has(_ context.Context, name string) (bool, error) {
	p.t.Errorf("asked whether there is %q", name)
	return false, nil
}

func (p silent) Put(_ context.Context, name string, _ int64, _ io.Reader) error {
	p.t.Errorf("asked to keep %q", name)
	return nil
}

// The program's places are asked for names that are promised to them, and for no others.
func TestPlacesAreAskedForDigests(t *testing.T) {
	t.Parallel()
	b := &Builder{places: map[string]cache.Place{"1": silent{t}}}
	conn := b.answering().Local()
	defer conn.Close()
	for _, name := range []string{"../../etc/x", "/etc/passwd", "sha256:../../x", "", "index.json", "sha512:" + strings.Repeat("a", 128), "sha256:" + strings.Repeat("A", 64)} {
		if _, err := wire.Do(t.Context(), conn, question.PlaceHas{Place: "1", Name: name}, wire.With{}); !errors.Is(public(err), ErrInvalid) {
			t.Errorf("whether there is %q: %v", name, err)
		}
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := wire.Do(t.Context(), conn, question.PlaceGet{Place: "1", Name: name}, wire.With{Files: []*os.File{null}}); !errors.Is(public(err), ErrInvalid) {
			t.Errorf("%q was given: %v", name, err)
		}
		if _, err := wire.Do(t.Context(), conn, question.PlacePut{Place: "1", Name: name}, wire.With{Files: []*os.File{null}}); !errors.Is(public(err), ErrInvalid) {
			t.Errorf("%q was kept: %v", name, err)
		}
		null.Close()
	}
}
