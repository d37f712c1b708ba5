package buildertest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	godigest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/input"
	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/protocol/outgoing"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/imageref"
	"github.com/oakum-build/oakum/storage/platform"
	"github.com/oakum-build/oakum/storage/registry"
)

// image is an image of the store.
type image struct {
	storage.Detail
	config json.RawMessage
	top    *layer
	names  []string
}

func (s *server) registerImages(w *wire.Server) {
	wire.Handle(w, s.list)
	wire.Handle(w, s.inspect)
	wire.Handle(w, s.tag)
	wire.Handle(w, s.remove)
	wire.Handle(w, s.pull)
	wire.Handle(w, s.push)
	wire.Handle(w, s.newPush)
	wire.Handle(w, s.finishPush)
	wire.Handle(w, s.closePush)
	wire.Handle(w, s.importCache)
	wire.Handle(w, s.exportCache)
	wire.Handle(w, s.closeCache)
	wire.Handle(w, s.exportMounts)
	wire.Handle(w, s.importMounts)
	wire.Handle(w, func(context.Context, *wire.Call, protocol.Remembers) (bool, error) { return false, nil })
	wire.Handle(w, s.prune)
	wire.Handle(w, s.diskUsage)
	wire.Handle(w, s.info)
}

// ids begin with what is the same for all that hash like this.
func idOf(parts ...any) string {
	sum := sha256.Sum256([]byte(fmt.Sprintln(parts...)))
	return hex.EncodeToString(sum[:])
}

// find gives the image of a name, an id or the beginning of one. The caller holds s.mu.
func (s *server) find(ref string) (*image, error) {
	if name, err := imageref.Canonical(ref); err == nil {
		if img := s.images[s.names[name]]; img != nil {
			return img, nil
		}
	}
	for _, name := range candidates(ref) {
		if img := s.images[s.names[name]]; img != nil {
			return img, nil
		}
	}
	for id, img := range s.images {
		if len(ref) >= 3 && strings.HasPrefix(id, ref) {
			return img, nil
		}
	}
	return nil, fmt.Errorf("%w: %s", storage.ErrNotFound, ref)
}

// candidates are the names that a short name may stand for.
func candidates(ref string) []string {
	if !strings.Contains(ref[strings.LastIndexByte(ref, '/')+1:], ":") && !strings.Contains(ref, "@") {
		ref += ":latest"
	}
	return []string{ref, "localhost/" + ref, "docker.io/library/" + ref, "docker.io/" + ref}
}

// base gives the image to start from, pulled as the policy says.
func (s *server) base(call *wire.Call, from input.Image) (*image, error) {
	ref, policy := from.Ref, from.Pull
	s.mu.Lock()
	have, err := s.find(ref)
	if err == nil {
		have, err = s.choose(have, from.Platform)
	}
	s.mu.Unlock()
	switch policy {
	case "", "never", "always", "newer":
	default:
		return nil, fmt.Errorf("%w: pull policy %q", errdefs.ErrInvalid, policy)
	}
	if err == nil && policy != "always" && policy != "newer" {
		return have, nil
	}
	if policy == "never" {
		return nil, fmt.Errorf("%w in the store, and pulling is off: %s", storage.ErrNotFound, ref)
	}
	got, pullErr := s.fetchImage(call, ref, from.Platform)
	if pullErr != nil && err == nil && policy == "newer" {
		return have, nil
	}
	return got, pullErr
}

// fetchImage takes an image of Options.Images into the store.
func (s *server) fetchImage(call *wire.Call, ref string, wanted platform.Platform) (*image, error) {
	start := time.Now()
	call.Event(protocol.Event{Pull: ref})
	img, err := s.pulled(ref, wanted)
	done := protocol.Event{Pulled: ref, Took: time.Since(start)}
	if err != nil {
		done.Failed = protocol.Encode(err)
	}
	call.Event(done)
	return img, err
}

func (s *server) pulled(ref string, wanted platform.Platform) (*image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range candidates(strings.TrimPrefix(ref, "docker://")) {
		from, ok := s.remote[name]
		if !ok {
			continue
		}
		var located *registry.Error
		if errors.Is(from.Err, builder.ErrRegistry) && !errors.As(from.Err, &located) {
			host, _, _ := strings.Cut(name, "/")
			return nil, &registry.Error{Host: host, Err: from.Err}
		}
		if from.Err != nil {
			return nil, from.Err
		}
		return s.unpackImage(name, from, wanted)
	}
	return nil, fmt.Errorf("%w: %s", storage.ErrNotFound, ref)
}

// unpackImage makes an image of the store of one that is pulled. The caller holds s.mu.
func (s *server) unpackImage(name string, from Image, wanted platform.Platform) (*image, error) {
	config := struct {
		platform.Platform
		Config  builder.Config    `json:"config"`
		RootFS  imgspec.RootFS    `json:"rootfs"`
		History []imgspec.History `json:"history"`
	}{Platform: cmp.Or(wanted, platform.Host()), Config: from.Config}
	top := root
	if from.Files != nil {
		all, err := take(from.Files, input.Source{})
		if err != nil {
			return nil, err
		}
		top = &layer{id: idOf(name, digest(all, true)), parent: root, files: tree{}, created: time.Unix(0, 0)}
		if err := top.files.place(all, placing{dest: "/", dir: true}); err != nil {
			return nil, err
		}
		config.RootFS = imgspec.RootFS{Type: "layers", DiffIDs: []godigest.Digest{godigest.NewDigestFromEncoded(godigest.SHA256, top.id)}}
		config.History = []imgspec.History{{CreatedBy: name}}
	}
	raw, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	return s.add(raw, top, time.Unix(0, 0), imgspec.MediaTypeImageManifest, name)
}

// add makes an image, or names one that is there. The caller holds s.mu.
func (s *server) add(config json.RawMessage, top *layer, created time.Time, mediaType string, names ...string) (*image, error) {
	id := godigest.FromBytes(config).Encoded()
	img := s.images[id]
	if img == nil {
		img = &image{config: config, top: top}
		img.ID, img.Created = id, created
		for l := top; l != root; l = l.parent {
			img.Layers = append(img.Layers, godigest.NewDigestFromEncoded(godigest.SHA256, l.id))
			img.LayerSizes = append(img.LayerSizes, l.size)
			img.Size += l.size
		}
		slices.Reverse(img.Layers)
		slices.Reverse(img.LayerSizes)
		img.Config = config
		img.Digest = godigest.NewDigestFromEncoded(godigest.SHA256, idOf("manifest", mediaType, id))
		img.Manifest = imgspec.Descriptor{MediaType: mediaType, Digest: img.Digest, Size: int64(len(config))}
		s.images[id] = img
	}
	return img, s.name(img, names...)
}

// name gives an image names. The caller holds s.mu.
func (s *server) name(img *image, names ...string) error {
	var canonical []string
	for _, name := range names {
		full, err := imageref.Canonical(name)
		if err != nil {
			return err
		}
		canonical = append(canonical, full)
	}
	for _, full := range canonical {
		if old := s.images[s.names[full]]; old != nil {
			old.names = slices.DeleteFunc(old.names, func(n string) bool { return n == full })
		}
		img.names = append(img.names, full)
		s.names[full] = img.ID
	}
	return nil
}

// shown is the image as callers see it. The caller holds s.mu.
func (i *image) shown() storage.Detail {
	d := i.Detail
	d.Names = slices.Clone(i.names)
	return d
}

func (s *server) list(context.Context, *wire.Call, protocol.Images) ([]storage.Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []storage.Image
	for _, id := range slices.Sorted(maps.Keys(s.images)) {
		img := s.images[id].shown().Image
		img.Within = s.within(id)
		all = append(all, img)
	}
	slices.SortStableFunc(all, func(a, b storage.Image) int { return b.Created.Compare(a.Created) })
	return all, nil
}

func (s *server) inspect(_ context.Context, _ *wire.Call, q protocol.Inspect) (storage.Detail, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	img, err := s.find(q.Ref)
	if err == nil && q.Choose {
		img, err = s.choose(img, q.Platform)
	}
	if err != nil {
		return storage.Detail{}, err
	}
	return img.shown(), nil
}

func (s *server) tag(_ context.Context, _ *wire.Call, q protocol.Tag) (wire.None, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	img, err := s.find(q.Ref)
	if err == nil {
		err = s.name(img, q.Names...)
	}
	return wire.None{}, err
}

func (s *server) remove(_ context.Context, _ *wire.Call, q protocol.Remove) (out storage.Removed, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	img, err := s.find(q.Ref)
	if err != nil {
		return out, err
	}
	byID, within := strings.HasPrefix(img.ID, q.Ref), len(s.within(img.ID)) > 0
	switch {
	case byID && within:
		return out, fmt.Errorf("%w: %w", storage.ErrInUse, errWithin)
	case q.Unnamed && len(img.names) > 0, byID && len(img.names) > 1 && !q.Force:
		return out, fmt.Errorf("%w: it has the names %s", storage.ErrInUse, strings.Join(img.names, ", "))
	case byID:
		out.Untagged = img.names
	default:
		for _, name := range candidates(q.Ref) {
			if slices.Contains(img.names, name) {
				out.Untagged = []string{name}
				break
			}
		}
	}
	if (len(img.names) == len(out.Untagged) || q.Force) && !within {
		for _, st := range s.stages {
			if st.top == img.top && img.top != root {
				return storage.Removed{}, fmt.Errorf("%w: a stage starts from it", storage.ErrInUse)
			}
		}
		out.Untagged, out.Deleted = img.names, []string{img.ID}
		delete(s.images, img.ID)
		out.Deleted = append(out.Deleted, s.free(img)...)
	}
	img.names = slices.DeleteFunc(slices.Clone(img.names), func(n string) bool { return slices.Contains(out.Untagged, n) })
	for _, name := range out.Untagged {
		delete(s.names, name)
	}
	return out, nil
}

func (s *server) pull(_ context.Context, call *wire.Call, q protocol.Pull) (storage.Image, error) {
	img, err := s.fetchImage(call, q.Ref, q.Platform)
	if err != nil {
		return storage.Image{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return img.shown().Image, nil
}

// push makes an image one that can be pulled.
func (s *server) push(_ context.Context, _ *wire.Call, q protocol.Push) (imgspec.Descriptor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	img, err := s.find(q.Ref)
	if err != nil {
		return imgspec.Descriptor{}, err
	}
	dest := strings.TrimPrefix(cmp.Or(q.Dest, q.Ref), "docker://")
	name, err := imageref.Canonical(dest)
	if err != nil {
		return imgspec.Descriptor{}, err
	}
	var config struct {
		Config builder.Config `json:"config"`
	}
	if err := json.Unmarshal(img.config, &config); err != nil {
		return imgspec.Descriptor{}, err
	}
	s.remote[name] = Image{Config: config.Config, Files: img.top.files.files()}
	return img.Manifest, nil
}

// newPush notes where an image is to be pushed.
func (s *server) newPush(_ context.Context, _ *wire.Call, q outgoing.NewPush) (wire.None, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pushes[q.Push] != nil {
		return wire.None{}, fmt.Errorf("%w: push %q", errdefs.ErrInvalid, q.Push)
	}
	s.pushes[q.Push] = q.Dests
	return wire.None{}, nil
}

func (s *server) finishPush(ctx context.Context, call *wire.Call, q outgoing.FinishPush) ([]imgspec.Descriptor, error) {
	s.mu.Lock()
	dests := s.pushes[q.Push]
	s.mu.Unlock()
	if dests == nil {
		return nil, fmt.Errorf("%w: no push %q", errdefs.ErrInvalid, q.Push)
	}
	var all []imgspec.Descriptor
	for _, dest := range dests {
		d, err := s.push(ctx, call, protocol.Push{Ref: q.Ref, Dest: dest})
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

func (s *server) closePush(_ context.Context, _ *wire.Call, q outgoing.ClosePush) (wire.None, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pushes, q.Push)
	return wire.None{}, nil
}

func (s *server) info(context.Context, *wire.Call, protocol.Info) (protocol.Machine, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := protocol.Machine{Kernel: runtime.GOOS}
	m.Driver, m.Images = "memory", len(s.images)
	return m, nil
}

func (s *server) commit(ctx context.Context, _ *wire.Call, q protocol.Commit) (storage.Image, error) {
	if q.Edit != nil {
		return s.editIndex(q.Names[0], *q.Edit)
	}
	if len(q.Images) > 0 {
		return s.commitIndex(q)
	}
	st, err := s.stage(q.Stage)
	if err == nil {
		err = s.knowsCache(q.Inline)
	}
	if err != nil {
		return storage.Image{}, err
	}
	op := Operation{Verb: "COMMIT", Stage: st.Name, On: st.top.id, Commit: builder.CommitOptions{
		Names: q.Names, Annotations: q.Annotations, Created: q.Created, Format: "oci", Squash: q.Squash,
	}}
	mediaType := imgspec.MediaTypeImageManifest
	if q.Docker {
		op.Commit.Format, mediaType = "docker", "application/vnd.docker.distribution.manifest.v2+json"
	}
	if err := errors.Join(s.begin(&op), ctx.Err()); err != nil {
		return storage.Image{}, err
	}
	created := cmp.Or(st.top.created, time.Unix(0, 0))
	if q.Created != nil {
		created = *q.Created
	}
	config, err := st.config(q, created)
	if err != nil {
		return storage.Image{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	img, err := s.add(config, st.top, created, mediaType, q.Names...)
	if err != nil {
		return storage.Image{}, err
	}
	img.Annotations = q.Annotations
	return img.shown().Image, nil
}

// config completes an image's configuration.
func (st *stage) config(q protocol.Commit, created time.Time) (json.RawMessage, error) {
	var config map[string]json.RawMessage
	if err := json.Unmarshal(q.Image, &config); err != nil {
		return nil, err
	}
	rootfs := imgspec.RootFS{Type: "layers", DiffIDs: []godigest.Digest{}}
	for l := st.top; l != root; l = l.parent {
		rootfs.DiffIDs = append(rootfs.DiffIDs, godigest.NewDigestFromEncoded(godigest.SHA256, l.id))
	}
	slices.Reverse(rootfs.DiffIDs)
	history := slices.Clone(q.History)
	for i := range history {
		if history[i].Created == nil || history[i].Created.After(created) {
			history[i].Created = &created
		}
	}
	for name, value := range map[string]any{"rootfs": rootfs, "history": history, "created": created} {
		raw, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		config[name] = raw
	}
	return json.Marshal(config)
}
