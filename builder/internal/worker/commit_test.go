//go:build linux

package worker

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"

	"github.com/oakum-build/oakum/storage"
)

func at(second int64) time.Time { return time.Unix(second, 0).UTC() }

func TestDatedHistory(t *testing.T) {
	t.Parallel()
	layer, empty := HistoryEntry{}, HistoryEntry{EmptyLayer: true}
	old := func(h HistoryEntry) HistoryEntry { c := at(1); h.Created = &c; return h }
	for _, test := range []struct {
		name    string
		history []HistoryEntry
		times   []int64
		want    []int64
		last    int64
	}{
		{"nothing", nil, nil, nil, 0},
		{"no layer", []HistoryEntry{empty, empty}, nil, []int64{0, 0}, 0},
		{"layers", []HistoryEntry{layer, layer}, []int64{5, 7}, []int64{5, 7}, 7},
		{"empty ones are of the layer before", []HistoryEntry{empty, layer, empty, layer, empty}, []int64{5, 7}, []int64{5, 5, 5, 7, 7}, 7},
		{"the base's stay", []HistoryEntry{old(layer), old(empty), layer}, []int64{5, 7}, []int64{1, 1, 7}, 7},
		{"only the base's", []HistoryEntry{old(layer), empty}, []int64{5}, []int64{1, 1}, 1},
		{"fewer entries than layers", []HistoryEntry{layer}, []int64{5, 6, 7}, []int64{5}, 7},
		{"more entries than layers", []HistoryEntry{layer, layer}, []int64{5}, []int64{5, 5}, 5},
		{"no history", nil, []int64{5, 6}, nil, 6},
	} {
		times := make([]time.Time, len(test.times))
		for i, s := range test.times {
			times[i] = at(s)
		}
		last, err := datedHistory(test.history, times)
		if err != nil || !last.Equal(at(test.last)) {
			t.Errorf("%s: last %d, %v, want %d", test.name, last.Unix(), err, test.last)
		}
		for i, h := range test.history {
			if h.Created == nil || !h.Created.Equal(at(test.want[i])) {
				t.Errorf("%s: entry %d is of %v, want %d", test.name, i, h.Created, test.want[i])
			}
		}
	}
}

func TestImageConfig(t *testing.T) {
	t.Parallel()
	created := at(100)
	image := json.RawMessage(`{"os":"linux","config":{"Cmd":["x"]},"unknown":{"kept":true},"rootfs":"replaced","created":"replaced"}`)
	raw, last, err := imageConfig(Commit{Image: image, Created: &created}, nil, nil)
	if err != nil || !last.Equal(created) {
		t.Fatal(last, err)
	}
	for _, want := range []string{`"unknown":{"kept":true}`, `"rootfs":{"diff_ids":[],"type":"layers"}`, `"created":"1970-01-01T00:01:40Z"`, `"Cmd":["x"]`} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("no %s in %s", want, raw)
		}
	}
	id := digest.FromString("x")
	raw, last, err = imageConfig(Commit{Image: image, History: []HistoryEntry{{CreatedBy: "RUN"}}}, []digest.Digest{id}, []time.Time{at(5)})
	if err != nil || !last.Equal(at(5)) || !strings.Contains(string(raw), id.String()) || !strings.Contains(string(raw), `"created_by":"RUN"`) {
		t.Errorf("%s, %v, %v", raw, last, err)
	}
	for _, bad := range []string{"", "[]", "null x", "{", "null"} {
		if _, _, err := imageConfig(Commit{Image: json.RawMessage(bad)}, nil, nil); err == nil {
			t.Errorf("%q is a configuration", bad)
		}
	}
}

// Everything that a step's result depends on is in its key.
func TestStepKeys(t *testing.T) {
	t.Parallel()
	seen := map[string]any{}
	for _, what := range []any{
		Run{}, Run{Args: []string{"a", "b"}}, Run{Args: []string{"a b"}}, Run{Args: []string{"a"}, Env: []string{"b"}}, Run{Env: []string{"a"}}, Run{Dir: "a"}, Run{User: "a"},
		Mkdir{}, Mkdir{Dir: "a"}, Mkdir{User: "a"}, copyKey{}, copyKey{Dest: "a"}, copyKey{Dir: true}, copyKey{Unpack: true},
		copyKey{Sources: []copySourceKey{{Chown: "a"}}}, copyKey{Sources: []copySourceKey{{Chmod: "a"}}}, copyKey{Sources: []copySourceKey{{}, {}}},
		copyKey{Sources: []copySourceKey{{KeepOwner: true}}}, copyKey{Sources: []copySourceKey{{Patterns: []string{"a"}}}}, copyKey{Sources: []copySourceKey{{Exclude: []string{"a"}}}},
	} {
		key, err := stepKey(nil, what)
		if err != nil {
			t.Fatal(err)
		}
		again, err := stepKey((*storage.Layer)(nil), what)
		if err != nil || again != key {
			t.Errorf("%+v: %s, then %s, %v", what, key, again, err)
		}
		if other, taken := seen[key]; taken {
			t.Errorf("%+v and %+v have one key", what, other)
		}
		seen[key] = what
	}
}
