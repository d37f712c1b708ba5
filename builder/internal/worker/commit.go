//go:build linux

package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/limits"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/remotecache"
)

func (w *worker) commit(ctx context.Context, call *wire.Call, p protocol.Commit) (storage.Image, error) {
	if p.Edit != nil {
		return w.store.EditIndex(ctx, p.Names[0], *p.Edit, w.access(call, p.Access))
	}
	if len(p.Images) > 0 {
		return w.store.CommitIndex(ctx, p.Images, storage.Commit{Names: p.Names, Docker: p.Docker, Annotations: p.Annotations}, w.access(call, p.Access))
	}
	s, err := w.stage(p.Stage)
	if err != nil {
		return storage.Image{}, err
	}
	if s.Options().Lookup {
		return storage.Image{}, fmt.Errorf("%w: a stage that only looks up is not committed", errdefs.ErrInvalid)
	}
	inline, err := w.inlined(ctx, call, p.Inline)
	if err != nil {
		return storage.Image{}, err
	}
	reach, made := w.reach(call), []*storage.Layer{s.Top()} // without which what is squashed is not found
	one, err := w.squash(ctx, s, &p, reach)
	if err != nil {
		return storage.Image{}, err
	}
	if one != nil {
		defer one.Close()
		s = one
	}
	top, err := s.Present(ctx, reach)
	if err != nil {
		return storage.Image{}, err
	}
	img, err := w.store.CommitImage(ctx, storage.Commit{
		Top: top, Names: p.Names, Docker: p.Docker, Annotations: p.Annotations,
		Config: func(diffIDs []digest.Digest, times []time.Time) (json.RawMessage, time.Time, error) {
			return imageConfig(p, inline, diffIDs, times)
		},
	})
	if err == nil {
		s.Options().Cache.Result(append(made, top)...)
	}
	return img, err
}

// imageConfig completes an image configuration with its layers (OCI image
// configuration). Steps found in the cache keep the time at which they were done, so
// an unchanged build gives the same image.
func imageConfig(p protocol.Commit, inline []byte, diffIDs []digest.Digest, times []time.Time) (json.RawMessage, time.Time, error) {
	var none time.Time
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(p.Image, &fields); err != nil {
		return nil, none, fmt.Errorf("image configuration: %w", err)
	}
	if fields == nil {
		return nil, none, fmt.Errorf("%w: an image configuration that is null", errdefs.ErrInvalid)
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
		"rootfs":  map[string]any{"type": "layers", "diff_ids": diffIDs},
	} {
		raw, err := json.Marshal(v)
		if err != nil {
			return nil, none, err
		}
		fields[name] = raw
	}
	if inline != nil {
		fields[remotecache.InlineKey] = inline
	}
	if len(p.History) > 0 {
		raw, err := json.Marshal(p.History)
		if err != nil {
			return nil, none, err
		}
		fields["history"] = raw
	}
	out, err := json.Marshal(fields)
	if err == nil && len(out) > limits.MaxJSON { // which containers/image would not pull
		err = &limits.LimitError{What: "the configuration of the image, with its labels, variables and history,", Limit: limits.MaxJSON, Unit: "bytes"}
	}
	return out, last, err
}

// dateHistory dates the entries of the build, and brings those of the base back to that
// time when they are later.
func dateHistory(history []imgspec.History, created time.Time) {
	for i := range history {
		if h := &history[i]; h.Created == nil || h.Created.After(created) {
			h.Created = &created
		}
	}
}

// datedHistory gives each entry its time and returns the last of them.
func datedHistory(history []imgspec.History, times []time.Time) (time.Time, error) {
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
