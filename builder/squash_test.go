//go:build linux

package builder_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/isolation"
)

// changes are commands whose layers remove and replace what is below them in all ways.
var changes = []string{
	"echo two >/b; rm /a; echo gone >/made; ln /b /b2; chown 33:44 /d/x; chmod 4755 /d/x",
	"rm -r /made /d/sub; mkdir -p /d/sub/n /new; echo s >/d/sub/n/s; ln -s /b /new/l; echo n >/new/n; mkfifo /fifo",
	"rm -r /new; echo file >/new; rm /b2; mkdir /b2; rm -r /d/y; ln -s x /d/y; touch -d @1000 /d",
}

const beneath = "cd /; echo a >a; echo b >b; mkdir -p d/sub/deep d/y; echo x >d/x; echo s >d/sub/deep/s; echo y >d/y/y"

// shownFiles is what a root has that the changes are about.
func shownFiles(t *testing.T, s *builder.Stage) string {
	t.Helper()
	var out bytes.Buffer
	_, err := s.Run(t.Context(), builder.Cmd{Ephemeral: true, Stdout: &out, Stderr: &out, Args: []string{"/bin/sh", "-c",
		`cd /; for f in a b b2 made new fifo d etc/passwd; do find $f 2>/dev/null; done | sort | while read -r f; do
			stat -c '%n %a %u:%g %Y %F %N' "$f"; test -f "$f" && cat "$f"; done`}})
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	return out.String()
}

// TestSquash: the image has the same files in fewer layers, the same each time, and those of its base
// stay unless all are asked for.
func TestSquash(t *testing.T) {
	t.Parallel()
	for _, choice := range []isolation.Choice{{}, withoutNamespaces} {
		dir := tempDir(t)
		b := openIn(t, builder.Options{Root: dir, Isolation: choice})
		if level, _ := b.Isolation(); level == isolation.NoCommands {
			continue // without them nothing removes a file
		}
		below := base(t, b)
		run(t, below, beneath)
		baseImage, err := below.Commit(t.Context(), "base", builder.CommitOptions{})
		ok(t, err)
		build := func(b *builder.Builder, opts builder.CommitOptions) builder.ImageDetail {
			s := stage(t, b, "base", builder.StageOptions{})
			run(t, s, changes[0])
			s, err := s.Fork(t.Context(), builder.StageOptions{})
			ok(t, err)
			defer s.Close()
			run(t, s, changes[1])
			s.Configure("CONFIGURED", func(c *builder.Config) { c.Cmd = []string{"x"} })
			run(t, s, changes[2])
			img, err := s.Commit(t.Context(), "", opts)
			ok(t, err)
			d, err := b.Inspect(t.Context(), img.ID)
			ok(t, err)
			return d
		}
		plain := build(b, builder.CommitOptions{})
		want := shownFiles(t, stage(t, b, plain.ID, builder.StageOptions{}))
		if strings.Contains(want, "deep") || !strings.Contains(want, "4755 33:44") || !strings.Contains(want, "fifo") {
			t.Fatalf("the changes made\n%s", want)
		}
		for squash, layers := range map[string]int{"new": 3, "all": 1} {
			got := build(b, builder.CommitOptions{Squash: squash})
			if len(got.Layers) != layers || squash == "new" && !slices.Equal(got.Layers[:2], plain.Layers[:2]) {
				t.Errorf("%s: layers %v of %v", squash, got.Layers, plain.Layers)
			}
			if text := shownFiles(t, stage(t, b, got.ID, builder.StageOptions{})); text != want {
				t.Errorf("%s: got\n%swant\n%s", squash, text, want)
			}
			if n := strings.Count(history(got), "(empty) "); n != map[string]int{"new": 4, "all": 6}[squash] || len(got.History) != len(plain.History)+1 || !got.Created.After(baseImage.Created) {
				t.Errorf("%s: history of %s\n%s", squash, got.Created, history(got))
			}
			for i, h := range plain.History {
				if len(got.History) > i && !h.EmptyLayer && !got.History[i].Created.Equal(*h.Created) {
					t.Errorf("%s: %q is of %v, want %v", squash, h.CreatedBy, got.History[i].Created, h.Created)
				}
			}
			again := build(b, builder.CommitOptions{Squash: squash})
			ok(t, b.Close())
			b = openIn(t, builder.Options{Root: dir, Isolation: choice})
			later := build(b, builder.CommitOptions{Squash: squash})
			if again.ID != got.ID || later.ID != got.ID {
				t.Errorf("%s: %s, then %s and %s", squash, got.ID, again.ID, later.ID)
			}
		}
	}
}

// TestSquashNothing: where there are not several layers, the image is what it is without.
func TestSquashNothing(t *testing.T) {
	t.Parallel()
	b := open(t)
	from := base(t, b)
	want, err := from.Commit(t.Context(), "one", builder.CommitOptions{})
	ok(t, err)
	for _, squash := range []string{"new", "all"} {
		got, err := from.Commit(t.Context(), "", builder.CommitOptions{Squash: squash})
		ok(t, err)
		equal(t, got.ID, want.ID)
	}
	on := stage(t, b, "one", builder.StageOptions{})
	ok(t, errOf(on.Copy(t.Context(), "/x", builder.Bytes("x", []byte("x")))))
	plain, err := on.Commit(t.Context(), "", builder.CommitOptions{})
	ok(t, err)
	got, err := on.Commit(t.Context(), "", builder.CommitOptions{Squash: "new"})
	ok(t, err)
	equal(t, got.ID, plain.ID)
	if _, err := on.Commit(t.Context(), "", builder.CommitOptions{Squash: "some"}); !errors.Is(err, builder.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

// TestSquashSame: a squashed image is the same in another store, on another day, and without namespaces.
func TestSquashSame(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_700_000_000, 0)
	dir := tree(t, map[string]string{"a": "a", "d/b": "b"})
	var first []digest.Digest
	for _, opts := range []builder.Options{{}, {}, {Isolation: withoutNamespaces}} {
		opts.Root = tempDir(t)
		b := openIn(t, opts)
		s := stage(t, b, builder.Scratch, builder.StageOptions{LatestTime: &at, AllTimes: true})
		ok(t, errOf(s.Copy(t.Context(), "/", builder.Dir(dir))))
		ok(t, errOf(s.Copy(t.Context(), "/d/", builder.Bytes("b", []byte("other")))))
		ok(t, errOf(s.Copy(t.Context(), "/d/", builder.Bytes("c", []byte("c")).Chown("33:44"))))
		img, err := s.Commit(t.Context(), "", builder.CommitOptions{Squash: "all", Created: &at})
		ok(t, err)
		d, err := b.Inspect(t.Context(), img.ID)
		ok(t, err)
		if first = append(first, img.Digest); len(d.Layers) != 1 || first[0] != img.Digest {
			t.Errorf("got %v, layers %v", first, d.Layers)
		}
	}
}
