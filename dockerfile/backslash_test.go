package dockerfile_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/dockerfile"
)

// A backslash in a source is a part of a name where that has no wildcard, as in BuildKit, and names no other file.
func TestBackslashInSources(t *testing.T) {
	t.Parallel()
	dir := contextDir(t)
	for _, name := range []string{`dev-a\x2db.swap`, "xzy"} {
		write(t, filepath.Join(dir, name), name)
	}
	b := open(t)
	opts := dockerfile.Options{Context: dockerfile.Context{Dir: dir}}
	img := build(t, b, "FROM scratch AS s\nCOPY dev-a\\\\x2db.swap /1/\nFROM scratch\nCOPY --from=s /1/dev-a\\\\x2db.swap /3/\n", opts)
	s, err := b.Stage(t.Context(), img.ID, builder.StageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if text, err := s.ReadFile(t.Context(), `3/dev-a\x2db.swap`, 100); err != nil || string(text) != `dev-a\x2db.swap` {
		t.Errorf("%q, %v", text, err)
	}
	for _, source := range []string{`xz\\y`, `nope\\x2d`} {
		opts.File = dockerfile.File{Text: strings.NewReader("FROM scratch\nCOPY " + source + " /\n")}
		if _, err := dockerfile.Build(t.Context(), b, opts); !errors.Is(err, builder.ErrNotFound) {
			t.Errorf("%s: %v", source, err)
		}
	}
}
