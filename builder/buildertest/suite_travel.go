package buildertest

import (
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/cache"
	"github.com/oakum-build/oakum/builder/event"
)

// Caches elsewhere: one that is not there is a warning and a build, one that was written is none, and what
// cannot be any is an error.
func testTravel(t *testing.T, s suite) {
	var warnings []string
	b := s.Open(t, builder.Options{Events: func(e event.Event) {
		if e.Kind == event.Warning {
			warnings = append(warnings, e.Text)
		}
	}})
	with := suite{s.Implementation, b}
	at := cache.At{Layout: t.TempDir() + "/cache", Tag: "t"}
	for range 2 {
		c, err := b.ImportCache(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		st := with.stage(t, s.Base, builder.StageOptions{Cache: c})
		done(t)(st.Run(t.Context(), builder.Cmd{Args: []string{"sh", "-c", "echo travels > /f"}}))
		holds(t, st, "/f", "travels\n")
		if _, err := st.Commit(t.Context(), "", builder.CommitOptions{InlineCache: c}); err != nil {
			t.Fatal(err)
		}
		d, err := b.ExportCache(t.Context(), c, cache.Target{At: at, Mode: cache.Max})
		if err != nil || d.Digest == "" || d.ArtifactType == "" {
			t.Errorf("exported %+v, %v", d, err)
		}
		for range 2 {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
		_, err = c.Export(t.Context(), cache.Target{At: at})
		is(t, err, builder.ErrInvalid)
		_, err = b.Stage(t.Context(), s.Base, builder.StageOptions{Cache: c})
		is(t, err, builder.ErrInvalid)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], at.Layout) {
		t.Errorf("warnings: %q", warnings)
	}
	for _, at := range []cache.At{{}, {Ref: "a", Layout: "b"}, {Ref: "a", Tag: "b"}} {
		_, err := b.ImportCache(t.Context(), at)
		is(t, err, builder.ErrInvalid)
	}
	c, err := b.ImportCache(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []cache.Target{{}, {At: at, Mode: "all"}} {
		_, err := c.Export(t.Context(), to)
		is(t, err, builder.ErrInvalid)
	}
}
