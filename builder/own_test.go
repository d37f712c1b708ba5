//go:build linux

package builder_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/event"
)

// A context that has the store in it: nothing of the store is read or copied, so that a
// copy ends, and a later build finds it in the cache.
func TestContextHoldsTheStore(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name          string
		root, runRoot string // below the context
		source        func(builder.Source) builder.Source
		want          string
		warnings      int
	}{
		{"all", "sub/store", "", nil, "app sub sub/file", 1},
		{"the store is the context", ".", "", nil, "app sub sub/file", 2},
		{"the context is in the store's directory", "..", "", nil, "app sub sub/file", 0},
		{"the run root apart", "sub/store", "sub/run", nil, "app sub sub/file", 2},
		{"a directory around it", "sub/store", "", func(s builder.Source) builder.Source { return s.Select("sub") }, "file", 1},
		{"a wildcard that matches it", "store", "", func(s builder.Source) builder.Source { return s.Select("s*") }, "file", 1},
		{"a wildcard below it", "store", "", func(s builder.Source) builder.Source { return s.Select("*/o*/st*", "app") }, "app", 1},
		{"a wildcard in it", "store", "", func(s builder.Source) builder.Source { return s.Select("store/*", "app") }, "app", 1},
		{"parents", "sub/store", "", func(s builder.Source) builder.Source { return s.Select("**/file", "**/lock", "app").Parents() }, "app sub sub/file", 1},
		{"parents with a base", "sub/store", "", func(s builder.Source) builder.Source { return s.Select("sub/./*").Parents() }, "file", 1},
		{"an ignore file that keeps all in it", "store", "", func(s builder.Source) builder.Source { return s.Select("s*").Ignore("store", "!**/lock") }, "file", 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(tempDir(t), "context")
			ok(t, os.MkdirAll(filepath.Join(dir, "sub"), 0o755))
			ok(t, os.WriteFile(filepath.Join(dir, "app"), []byte("app"), 0o644))
			ok(t, os.WriteFile(filepath.Join(dir, "sub/file"), []byte("file"), 0o644))
			opts := builder.Options{Root: filepath.Join(dir, test.root)}
			if test.runRoot != "" {
				opts.RunRoot = filepath.Join(dir, test.runRoot)
			}
			warnings := 0
			opts.Events = func(e event.Event) {
				if e.Kind == event.Warning && strings.Contains(e.Text, "belongs to the image store") {
					warnings++
				}
			}
			src := builder.Dir(dir)
			if test.source != nil {
				src = test.source(src)
			}
			for _, again := range []bool{false, true} {
				b, err := builder.Open(t.Context(), opts)
				ok(t, err)
				s := scratch(t, b)
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // for it may not end
				defer cancel()
				step, err := s.Copy(ctx, "/out/", src)
				ok(t, err)
				if step.Cached != again {
					t.Errorf("cached: %t", step.Cached)
				}
				var got []string
				for _, e := range lastLayer(t, b, s) {
					if name := strings.Trim(e.Name, "/"); strings.HasPrefix(name, "out/") {
						got = append(got, strings.TrimPrefix(name, "out/"))
					}
				}
				equal(t, strings.Join(sorted(got), " "), test.want)
				before := warnings
				ok(t, errOf(s.Copy(t.Context(), "/more/", src)))
				if before != test.warnings || warnings != before {
					t.Errorf("%d warnings, and %d after the same again", before, warnings)
				}
				ok(t, b.Close())
				warnings = 0
			}
		})
	}
}

func TestContextInTheStore(t *testing.T) {
	t.Parallel()
	root := tempDir(t)
	b := openIn(t, builder.Options{Root: filepath.Join(root, "store")})
	ok(t, os.Symlink("store/oakum", filepath.Join(root, "link")))
	s := scratch(t, b)
	for _, dir := range []string{"store/overlay", "store/oakum/mnt", "link"} {
		is(t, errOf(s.Copy(t.Context(), "/", builder.Dir(filepath.Join(root, dir)))), builder.ErrInvalid)
	}
	for _, name := range []string{"store", "store/oakum/lock", "store/overlay", "link/lock"} {
		is(t, errOf(s.Copy(t.Context(), "/", builder.Dir(root).Select(name))), builder.ErrNotFound)
	}
	is(t, errOf(s.Copy(t.Context(), "/", builder.Dir(root).Select("store/oakum/lock").Parents())), builder.ErrNotFound)
}
