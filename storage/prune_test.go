//go:build linux

package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oakum-build/oakum/storage/usage"
)

// pruned prunes, and gives the ids of what went.
func pruned(t testing.TB, s *Store, o usage.Options) []string {
	t.Helper()
	out, err := s.Prune(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	var size int64
	for _, i := range out.Items {
		ids = append(ids, i.ID)
		size += i.Size
	}
	if size != out.Size {
		t.Errorf("%d bytes are gone, of items of %d", out.Size, size)
	}
	return ids
}

// usedAt marks a layer as used some hours ago.
func usedAt(t testing.TB, s *Store, l *Layer, hours int) {
	t.Helper()
	at := time.Now().Add(-time.Duration(hours) * time.Hour)
	if err := os.Chtimes(filepath.Join(s.layersHome(), l.id), at, at); err != nil {
		t.Fatal(err)
	}
}

// contents are the files of a layer's tar by their names, read by its Use.
func contents(t testing.TB, s *Store, l *Layer) string {
	t.Helper()
	tar, err := s.OpenTar(l)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer tar.Close()
	text, err := io.ReadAll(tar)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// Another process prunes while builds find, make and read layers: none of them loses a layer that it is on, or finds
// another content, and what nobody uses any more goes.
func TestPruneBesideBuilds(t *testing.T) {
	t.Parallel()
	s := open(t)
	other := another(t, s, 4321)
	defer func() {
		if err := other.Close(); err != nil {
			t.Error(err)
		}
	}()
	const steps, builds, times = 4, 3, 8
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var all, pruning sync.WaitGroup
	removed := 0
	pruning.Go(func() {
		for ctx.Err() == nil {
			out, err := other.Prune(t.Context(), usage.Options{})
			if err != nil {
				t.Error(err)
				return
			}
			removed += out.Layers
		}
	})
	found := make([]int, builds)
	for b := range builds {
		all.Go(func() {
			for n := range times {
				u := s.Use(nil)
				var below *Layer
				for step := range steps {
					step += 10 * (n % 2) // another chain each time, so that nobody uses the other one
					text := fmt.Sprintf("content-%d", step)
					l, hit := build(t, s, u, below, step, text)
					if l == nil {
						return
					}
					if hit {
						found[b]++
					}
					if err := u.Claim(); err != nil {
						t.Errorf("build %d.%d is on what is gone: %v", b, n, err)
					}
					if got := contents(t, s, l); !strings.Contains(got, text) {
						t.Errorf("step %d has not its content", step)
					}
					below = l
				}
				u.Close()
			}
		})
	}
	all.Wait()
	stop()
	pruning.Wait()
	t.Logf("found %v of %d steps, removed %d layers", found, steps*times, removed)
	s.releaseUnused()
	pruned(t, other, usage.Options{})
	if left := layerIDs(t, s); len(left) > 0 {
		t.Errorf("left are %q", left)
	}
}

// build does a step as a stage does: it looks it up, takes what it finds, or makes it.
func build(t *testing.T, s *Store, u *Use, below *Layer, step int, text string) (l *Layer, hit bool) {
	for {
		recs, err := s.Records().Get(t.Context(), key(step))
		if err != nil {
			t.Error(err)
			return nil, false
		}
		l, ok := s.LayerOf(recs, below)
		if !ok {
			break
		}
		if err := u.Take(l); err == nil {
			return l, true
		} else if !errors.Is(err, ErrRemoved) {
			t.Error(err)
			return nil, false
		}
	}
	l, err := makeLayer(t, s, below, func(dir string) error {
		return os.WriteFile(filepath.Join(dir, strconv.Itoa(step)), []byte(text), 0o644)
	})
	if err == nil {
		u.Move(l)
		err = l.Wait(t.Context())
	}
	if err != nil {
		t.Error(err)
		return nil, false
	}
	if err := s.Records().Put(t.Context(), recordOf(t, step, 0, below, l)); err != nil {
		t.Error(err)
	}
	return l, false
}

// A layer that was made stays until a Use has had it, and one that was found and is gone leaves the Use where it was.
func TestMadeLayersStay(t *testing.T) {
	t.Parallel()
	s := open(t)
	other := another(t, s, 1)
	defer other.Close()
	l, err := makeLayer(t, s, nil, func(dir string) error { return os.WriteFile(filepath.Join(dir, "f"), nil, 0o644) })
	if err == nil {
		err = l.Wait(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	gone := layer(t, s, nil, "g", "")
	for _, by := range []*Store{s, other} {
		if ids := pruned(t, by, usage.Options{}); slices.Contains(ids, l.ID()) {
			t.Fatal("it went before anybody could use it")
		}
	}
	u := s.Use(l)
	if err := u.Take(gone); !errors.Is(err, ErrRemoved) {
		t.Errorf("taking what is gone: %v", err)
	}
	if ids := pruned(t, other, usage.Options{}); len(ids) > 0 || u.Claim() != nil {
		t.Errorf("%q went though it is in use", ids)
	}
	// As a prune does that had looked before it came into use.
	for _, by := range []*Store{s, other} {
		if removed, err := by.removeUnused(l.ID()); removed || err != nil {
			t.Errorf("removing what is in use: %v, %v", removed, err)
		}
	}
	u.Close()
	s.releaseUnused() // which a timer does otherwise
	if ids := pruned(t, other, usage.Options{}); !slices.Equal(ids, []string{l.ID()}) {
		t.Errorf("%q went", ids)
	}
}

// Layers that a pull builds on stay, though only a step has kept them before.
func TestPullKeepsWhatItFinds(t *testing.T) {
	t.Parallel()
	s := open(t)
	other := another(t, s, 1)
	defer other.Close()
	img, base := foreignImage(t, s)
	step := layer(t, s, base, "f", "")
	if _, err := s.cs.DeleteImage(img.ID, true); err != nil {
		t.Fatal(err)
	}
	into := &adding{Store: s.cs, of: s}
	if _, err := into.Layer(base.ID()); err != nil {
		t.Fatal(err)
	}
	if ids := pruned(t, other, usage.Options{}); !slices.Equal(ids, []string{step.ID()}) {
		t.Errorf("%q went", ids)
	}
	into.end()
	again := layer(t, s, base, "f", "")
	if ids := pruned(t, other, usage.Options{}); !slices.Equal(ids, []string{again.ID(), base.ID(), base.Parent().ID()}) {
		t.Errorf("%q went", ids)
	}
}

// What was last used longest ago goes first, no more than is needed, and layers from the top.
func TestPruneLimits(t *testing.T) {
	t.Parallel()
	s := open(t)
	var all []*Layer // two chains of two
	for i := range 4 {
		var below *Layer
		if i%2 == 1 {
			below = all[i-1]
		}
		all = append(all, layer(t, s, below, "f", noise(40<<10, uint64(i))))
	}
	usedAt(t, s, all[0], 1)
	usedAt(t, s, all[1], 30)
	usedAt(t, s, all[2], 20)
	usedAt(t, s, all[3], 10)
	kept := layer(t, s, nil, "f", "kept")
	usedAt(t, s, kept, 100)
	commit(t, s, kept, "app")
	ids := func(which ...int) (ids []string) {
		for _, i := range which {
			ids = append(ids, all[i].ID())
		}
		return ids
	}
	found, err := s.DiskUsage(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	size := func(which ...int) (sum int64) {
		for _, i := range found.Items {
			if slices.Contains(ids(which...), i.ID) {
				sum += i.Size
			}
		}
		return sum
	}
	for name, test := range map[string]struct {
		o    usage.Options
		want []string
	}{
		"everything":              {usage.Options{}, ids(1, 3, 2, 0)},
		"what is old":             {usage.Options{KeepDuration: 15 * time.Hour}, ids(1)},
		"what is older than that": {usage.Options{KeepDuration: 40 * time.Hour}, nil},
		"two":                     {usage.Options{MaxUsedSpace: size(0, 2)}, ids(1, 3)},
		"none":                    {usage.Options{MaxUsedSpace: size(0, 1, 2, 3)}, nil},
		"down to what is kept":    {usage.Options{ReservedSpace: size(0) + 1}, ids(1, 3, 2)},
		"not below that":          {usage.Options{MaxUsedSpace: 1, ReservedSpace: size(0, 2) + 1}, ids(1, 3)},
		"enough is left":          {usage.Options{MinFreeSpace: 1}, nil},
		"nothing is enough":       {usage.Options{MinFreeSpace: 1 << 60}, ids(1, 3, 2, 0)},
		"one by its id":           {usage.Options{Filter: filters(t, "id="+all[3].ID()[:20])}, ids(3)},
		"only what is lower":      {usage.Options{Filter: filters(t, "id="+all[2].ID()), MaxUsedSpace: 1}, nil},
		"only caches":             {usage.Options{Filter: filters(t, "type=exec.cachemount")}, nil},
	} {
		test.o.DryRun = true
		if got := pruned(t, s, test.o); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q would go, not %q", name, got, test.want)
		}
	}
	if got := pruned(t, s, usage.Options{MaxUsedSpace: size(0, 2)}); !slices.Equal(got, ids(1, 3)) {
		t.Errorf("%q went", got)
	}
	left := layerIDs(t, s)
	slices.Sort(left)
	want := append(ids(0, 2), kept.ID())
	slices.Sort(want)
	if !slices.Equal(left, want) {
		t.Errorf("left are %q, not %q", left, want)
	}
	for _, bad := range []usage.Options{{KeepDuration: -1}, {MaxUsedSpace: -1}, {Filter: []usage.Filter{{Key: "x", Op: "="}}}} {
		if _, err := s.Prune(t.Context(), bad); !errors.Is(err, usage.ErrFilter) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func filters(t testing.TB, texts ...string) (list []usage.Filter) {
	t.Helper()
	for _, text := range texts {
		f, err := usage.ParseFilter(text, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, f)
	}
	return list
}

// With Every, a prune does nothing soon after another, or beside one; without, it waits for that.
func TestPruneSeldom(t *testing.T) {
	t.Parallel()
	s := open(t)
	skipped := func(o usage.Options) bool {
		t.Helper()
		out, err := s.Prune(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		return out.Skipped
	}
	hourly := usage.Options{Every: time.Hour}
	if skipped(hourly) || !skipped(hourly) || skipped(usage.Options{}) || !skipped(hourly) {
		t.Error("it is not done once an hour")
	}
	past := time.Now().Add(-2 * time.Hour)
	if err := s.private.Chtimes(pruneFile, past, past); err != nil {
		t.Fatal(err)
	}
	done, due, err := another(t, s, 1).pruneTurn(t.Context(), 0)
	if err != nil || !due {
		t.Fatal(due, err)
	}
	if !skipped(hourly) {
		t.Error("it was done beside another")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Prune(ctx, usage.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for another: %v", err)
	}
	past = time.Now().Add(-2 * time.Hour)
	done()
	if err := s.private.Chtimes(pruneFile, past, past); err != nil {
		t.Fatal(err)
	}
	if skipped(hourly) {
		t.Error("it is still not done")
	}
}

// What is known of layers that stay is only forgotten with All, and what others record meanwhile never.
func TestPruneForgets(t *testing.T) {
	t.Parallel()
	s := open(t)
	kept := layer(t, s, nil, "f", "kept")
	commit(t, s, kept, "app")
	record(t, s, 1, 2, nil, kept)
	if err := s.RememberContent(key(3), key(4), kept.chain); err != nil {
		t.Fatal(err)
	}
	if err := s.private.WriteFile("files/x", []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	known := func(dir string) int {
		t.Helper()
		names, err := s.names(dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	pruned(t, s, usage.Options{KeepDuration: time.Hour})
	if known(recordsDir) != 1 || known(readsDir) != 1 || known("files") != 1 {
		t.Error("something that was just used is forgotten")
	}
	if ids := pruned(t, s, usage.Options{}); !slices.Equal(ids, []string{"files"}) || known(recordsDir) != 1 || known(readsDir) != 1 || known("files") != 0 {
		t.Errorf("%q went", ids)
	}
	// A record of a layer that is gone is for who prunes everything.
	lost := layer(t, s, nil, "f", "lost")
	record(t, s, 7, 8, nil, lost)
	if err := s.deleteLayer(lost.ID()); err != nil {
		t.Fatal(err)
	}
	for _, o := range []usage.Options{{KeepDuration: time.Hour}, {MaxUsedSpace: 1 << 40}, {Filter: filters(t, "type=regular")}, {DryRun: true}} {
		if ids := pruned(t, s, o); len(ids) > 0 || known(recordsDir) != 2 {
			t.Errorf("%+v: %q went, and %d records are left", o, ids, known(recordsDir))
		}
	}
	if ids := pruned(t, s, usage.Options{}); len(ids) > 0 || known(recordsDir) != 1 {
		t.Errorf("%q went, and %d records are left", ids, known(recordsDir))
	}
	// A record that is put between the two passes over them.
	m, err := s.recall()
	if err != nil {
		t.Fatal(err)
	}
	record(t, s, 5, 6, nil, layer(t, s, nil, "f", "new"))
	if err := s.forget(m, time.Now()); err != nil || known(recordsDir) != 2 {
		t.Errorf("of a record and one that was put meanwhile %d are left, %v", known(recordsDir), err)
	}
	pruned(t, s, usage.Options{All: true})
	if known(recordsDir) != 0 || known(readsDir) != 0 {
		t.Error("something is known after all was forgotten")
	}
	if len(layerIDs(t, s)) != 1 {
		t.Error("the image's layer is not what is left")
	}
}
