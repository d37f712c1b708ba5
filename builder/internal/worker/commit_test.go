//go:build linux

package worker

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder/internal/protocol"
)

func at(second int64) time.Time { return time.Unix(second, 0).UTC() }

func TestDatedHistory(t *testing.T) {
	t.Parallel()
	layer, empty := imgspec.History{}, imgspec.History{EmptyLayer: true}
	old := func(h imgspec.History) imgspec.History { c := at(1); h.Created = &c; return h }
	for _, test := range []struct {
		name    string
		history []imgspec.History
		times   []int64
		want    []int64
		last    int64
	}{
		{"nothing", nil, nil, nil, 0},
		{"no layer", []imgspec.History{empty, empty}, nil, []int64{0, 0}, 0},
		{"layers", []imgspec.History{layer, layer}, []int64{5, 7}, []int64{5, 7}, 7},
		{"empty ones are of the layer before", []imgspec.History{empty, layer, empty, layer, empty}, []int64{5, 7}, []int64{5, 5, 5, 7, 7}, 7},
		{"the base's stay", []imgspec.History{old(layer), old(empty), layer}, []int64{5, 7}, []int64{1, 1, 7}, 7},
		{"only the base's", []imgspec.History{old(layer), empty}, []int64{5}, []int64{1, 1}, 1},
		{"fewer entries than layers", []imgspec.History{layer}, []int64{5, 6, 7}, []int64{5}, 7},
		{"more entries than layers", []imgspec.History{layer, layer}, []int64{5}, []int64{5, 5}, 5},
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
	raw, last, err := imageConfig(protocol.Commit{Image: image, Created: &created}, nil, nil, nil)
	if err != nil || !last.Equal(created) {
		t.Fatal(last, err)
	}
	for _, want := range []string{`"unknown":{"kept":true}`, `"rootfs":{"diff_ids":[],"type":"layers"}`, `"created":"1970-01-01T00:01:40Z"`, `"Cmd":["x"]`} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("no %s in %s", want, raw)
		}
	}
	id := digest.FromString("x")
	raw, last, err = imageConfig(protocol.Commit{Image: image, History: []imgspec.History{{CreatedBy: "RUN"}}}, nil, []digest.Digest{id}, []time.Time{at(5)})
	if err != nil || !last.Equal(at(5)) || !strings.Contains(string(raw), id.String()) || !strings.Contains(string(raw), `"created_by":"RUN"`) {
		t.Errorf("%s, %v, %v", raw, last, err)
	}
	for _, bad := range []string{"", "[]", "null x", "{", "null"} {
		if _, _, err := imageConfig(protocol.Commit{Image: json.RawMessage(bad)}, nil, nil, nil); err == nil {
			t.Errorf("%q is a configuration", bad)
		}
	}
}
