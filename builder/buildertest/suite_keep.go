package buildertest

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/cache"
	"github.com/oakum-build/oakum/builder/mount"
	"github.com/oakum-build/oakum/builder/usage"
)

// What commands leave in caches goes from one store to another.
func testMoveMounts(t *testing.T, s suite) {
	of := func(id string) builder.Mount { return builder.Mount{Target: "/c", Cache: &mount.Cache{ID: id}} }
	var archive bytes.Buffer
	_, err := s.b.ExportMounts(t.Context(), mount.Export{Archive: &archive}, builder.PushOptions{})
	is(t, err, builder.ErrNotFound)
	st := s.stage(t, s.Base, builder.StageOptions{})
	for _, id := range []string{"two", "one"} {
		wrote(t, "")(with(t, fork(t, st), "echo moved > /c/f", of(id)))
	}
	layout := cache.At{Layout: t.TempDir() + "/layout"}
	for _, what := range []mount.Export{{Archive: &archive}, {To: layout}} {
		moved, err := s.b.ExportMounts(t.Context(), what, builder.PushOptions{})
		if err != nil || len(moved) != 2 || moved[0].ID != "one" || moved[1].ID != "two" || moved[0].Blob == "" || moved[0].Size == 0 {
			t.Fatalf("exported %+v, %v", moved, err)
		}
	}
	_, err = s.b.ExportMounts(t.Context(), mount.Export{Archive: &bytes.Buffer{}, IDs: []string{"one", "none"}}, builder.PushOptions{})
	is(t, err, builder.ErrNotFound)
	_, err = s.b.ExportMounts(t.Context(), mount.Export{}, builder.PushOptions{})
	is(t, err, builder.ErrInvalid)

	other := suite{s.Implementation, s.Open(t, builder.Options{})}
	there := other.stage(t, s.Base, builder.StageOptions{})
	wrote(t, "")(with(t, fork(t, there), "echo own > /c/f", of("one")))
	reads := func(in *builder.Stage, id, want string) {
		t.Helper()
		var out bytes.Buffer
		_, err := in.Run(t.Context(), builder.Cmd{Args: []string{"sh", "-c", "cat /c/f"}, Dir: "/w", Mounts: []builder.Mount{of(id)}, Stdout: &out, Ephemeral: true})
		if err != nil || out.String() != want {
			t.Errorf("cache %s has %q, %v, want %q", id, out.String(), err, want)
		}
	}
	for _, replace := range []bool{false, true} {
		moved, err := other.b.ImportMounts(t.Context(), mount.Import{Archive: bytes.NewReader(archive.Bytes()), IDs: []string{"one"}, Replace: replace}, builder.PullOptions{})
		if err != nil || len(moved) != 1 || moved[0].ID != "one" || moved[0].Kept == replace {
			t.Fatalf("imported %+v, %v", moved, err)
		}
		reads(there, "one", map[bool]string{false: "own\n", true: "moved\n"}[replace])
	}
	_, err = other.b.ImportMounts(t.Context(), mount.Import{Archive: bytes.NewReader(archive.Bytes()), IDs: []string{"none"}}, builder.PullOptions{})
	is(t, err, builder.ErrNotFound)
	if _, err := other.b.ImportMounts(t.Context(), mount.Import{Archive: strings.NewReader("none")}, builder.PullOptions{}); err == nil {
		t.Error("what is no archive was imported")
	}
	_, err = other.b.ImportMounts(t.Context(), mount.Import{From: cache.At{Layout: t.TempDir() + "/none"}}, builder.PullOptions{})
	is(t, err, builder.ErrImageNotFound)

	wrote(t, "")(with(t, fork(t, st), "echo later > /c/f", of("two")))
	if moved, err := s.b.ImportMounts(t.Context(), mount.Import{From: layout, Replace: true}, builder.PullOptions{}); err != nil || len(moved) != 2 {
		t.Errorf("imported %+v, %v", moved, err)
	}
	reads(st, "two", "moved\n")
}

// What a store has is the sum of its items, and filters choose what is listed of them.
func testDiskUsage(t *testing.T, s suite) {
	st := s.stage(t, s.Base, builder.StageOptions{})
	wrote(t, "")(with(t, st, "echo text > /f; echo kept > /c/f", builder.Mount{Target: "/c", Cache: &mount.Cache{}}))
	if _, err := st.Commit(t.Context(), "", builder.CommitOptions{}); err != nil { // which waits for the layer
		t.Fatal(err)
	}
	list := func(texts ...string) usage.Report {
		t.Helper()
		var filters []usage.Filter
		for _, text := range texts {
			f, err := usage.ParseFilter(text, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			filters = append(filters, f)
		}
		report, err := s.b.DiskUsage(t.Context(), filters...)
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	all := list()
	var size, apparent int64
	for _, i := range all.Items {
		size, apparent = size+i.Size, apparent+i.Apparent
	}
	if size == 0 || size != all.Size || apparent != all.Apparent {
		t.Errorf("items of %d and %d bytes in a store of %d and %d", size, apparent, all.Size, all.Apparent)
	}
	if layers := list("type=layer", "immutable").Items; len(layers) == 0 || layers[0].Kind != usage.Layer || layers[0].ID == "" {
		t.Errorf("layers %+v", layers)
	}
	caches := list("type=cachemount").Items
	if len(caches) != 1 || caches[0].Kind != usage.CacheMount || !caches[0].Reclaimable || caches[0].Size == 0 {
		t.Errorf("caches %+v", caches)
	}
	if both := list("type=cachemount", "immutable").Items; len(both) != 0 {
		t.Errorf("immutable caches %+v", both)
	}
	_, err := s.b.DiskUsage(t.Context(), usage.Filter{Key: "none", Op: "=", Value: "x"})
	is(t, err, builder.ErrInvalid)
	only, err := usage.ParseFilter("type=cachemount", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if p, err := s.b.Prune(t.Context(), usage.Options{Filter: []usage.Filter{only}}); err != nil || p.Caches != 1 || p.Layers != 0 {
		t.Errorf("pruned %+v, %v", p, err)
	}
	if caches := list("type=cachemount").Items; len(caches) != 0 {
		t.Errorf("caches that were pruned: %+v", caches)
	}
}
