//go:build linux

package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	digest "github.com/opencontainers/go-digest"

	"github.com/oakum-build/oakum/builder/foreign"
	"github.com/oakum-build/oakum/storage"
)

func (w *worker) commit(ctx context.Context, p Commit) (storage.Image, error) {
	s, err := w.stage(p.Stage)
	if err != nil {
		return storage.Image{}, err
	}
	if s.lookup {
		return storage.Image{}, fmt.Errorf("%w: a stage that only looks up is not committed", errInvalid)
	}
	return w.store.CommitImage(ctx, storage.Commit{
		Top: s.top(), Names: p.Names, Docker: p.Docker, Annotations: p.Annotations,
		Config: func(diffIDs []digest.Digest, times []time.Time) (json.RawMessage, time.Time, error) {
			return imageConfig(p, diffIDs, times)
		},
	})
}

// imageConfig completes an image configuration with its layers (OCI image
// configuration). Steps found in the cache keep the time at which they were done, so
// an unchanged build gives the same image.
func imageConfig(p Commit, diffIDs []digest.Digest, times []time.Time) (json.RawMessage, time.Time, error) {
	var none time.Time
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(p.Image, &fields); err != nil {
		return nil, none, fmt.Errorf("image configuration: %w", err)
	}
	if fields == nil {
		return nil, none, fmt.Errorf("%w: an image configuration that is null", errInvalid)
	}
	if p.Created != nil {
		dateHistory(p.History, p.Created.UTC())
	}
	last, err := datedHistory(p.History, times)
	if err != nil {
		return nil, none, err
	}
	if p.Created != nil {
		last = p.Created.UTC()
	}
	if diffIDs == nil {
		diffIDs = []digest.Digest{}
	}
	for name, v := range map[string]any{
		"created": last,
		"history": p.History,
		"rootfs":  map[string]any{"type": "layers", "diff_ids": diffIDs},
	} {
		raw, err := json.Marshal(v)
		if err != nil {
			return nil, none, err
		}
		fields[name] = raw
	}
	out, err := json.Marshal(fields)
	if err == nil && len(out) > foreign.MaxJSON { // which containers/image would not pull
		err = &foreign.LimitError{What: "the configuration of the image, with its labels, variables and history,", Limit: foreign.MaxJSON, Unit: "bytes"}
	}
	return out, last, err
}

// dateHistory dates the entries of the build, and brings those of the base back to that
// time when they are later.
func dateHistory(history []HistoryEntry, created time.Time) {
	for i := range history {
		if h := &history[i]; h.Created == nil || h.Created.After(created) {
			h.Created = &created
		}
	}
}

// datedHistory gives each entry its time and returns the last of them.
func datedHistory(history []HistoryEntry, times []time.Time) (time.Time, error) {
	layers := 0
	for _, h := range history {
		if !h.EmptyLayer {
			layers++
		}
	}
	// Some images have no history, or not for all layers; it cannot be dated then.
	dated := layers == len(times)
	at, n := time.Unix(0, 0).UTC(), 0
	if len(times) > 0 {
		at = times[0].UTC()
	}
	for i := range history {
		h := &history[i]
		if !h.EmptyLayer && dated {
			if h.Created == nil {
				at = times[n].UTC()
			}
			n++
		}
		if h.Created != nil {
			at = h.Created.UTC()
			continue
		}
		t := at
		h.Created = &t
	}
	if !dated && len(times) > 0 {
		at = times[len(times)-1].UTC()
	}
	return at, nil
}
