//go:build linux

package storage

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	blobcache "go.podman.io/image/v5/pkg/blobinfocache/memory"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/errgroup"

	"github.com/oakum-build/oakum/storage/imageref"
	"github.com/oakum-build/oakum/storage/registry"
)

// Push sends an image to registries while it is being built. Each layer is compressed once, as soon as
// it is registered, and sent to all of them from there. The manifests come last, by Finish; so a
// build that fails leaves blobs in the registries, which they collect, and no image.
//
// Its methods may be called by several goroutines at once.
type Push struct {
	store   *Store
	options PushOptions
	targets []*target
	scratch string
	notices notices

	ctx    context.Context // of what goes on between the calls
	cancel context.CancelFunc
	going  sync.WaitGroup
	turn   chan struct{} // held while a layer is compressed, which takes all processors
	room   chan struct{} // held for each layer that lies compressed on the disk

	mu     sync.Mutex
	layers map[string]chan struct{} // by their ids; closed when they are sent, or cannot be
	closed bool
}

// mostSpools is how many layers may lie on the disk compressed while they are being sent.
const mostSpools = 4

// NewPush begins to push an image to registries: to the names dests, which may begin with docker://.
// It asks each of them now whether it may, by sending it a blob of two bytes: who has built for an hour
// must not be told only then. Where it may not it fails as Push does. The Push must be closed.
func (s *Store) NewPush(ctx context.Context, dests []string, o PushOptions, a registry.Access) (*Push, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	scratch, err := s.Scratch()
	if err != nil {
		return nil, err
	}
	p := &Push{
		store: s, options: o, scratch: scratch, layers: map[string]chan struct{}{},
		turn: make(chan struct{}, 1), room: make(chan struct{}, mostSpools),
	}
	p.ctx, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
	p.notices.tell(a.Notice)
	defer p.notices.tell(nil)
	a.Notice, a.Retry.Notice = p.notices.notice, p.notices.notice
	if err := p.open(ctx, dests, a); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// open opens the ways to the targets, and asks whether they may be pushed to.
func (p *Push) open(ctx context.Context, dests []string, a registry.Access) error {
	sys, err := p.store.systemContext(a)
	if err != nil {
		return err
	}
	for _, dest := range dests {
		ref, err := destination(dest, p.options.ByDigest)
		if err != nil {
			return err
		}
		if ref.Transport().Name() != docker.Transport.Name() {
			return fmt.Errorf("%w %q: while it is built, an image is pushed to registries alone", imageref.ErrInvalid, dest)
		}
		t := &target{dest: dest, host: reference.Domain(ref.DockerReference())}
		if t.session, err = registry.Open(ctx, sys, a, registry.MayPush, ref.DockerReference()); err != nil {
			return err
		}
		p.targets = append(p.targets, t)
		if t.to, err = ref.NewImageDestination(ctx, t.session.System()); err != nil {
			return err
		}
	}
	group, inner := errgroup.WithContext(ctx)
	for _, t := range p.targets {
		group.Go(func() error { return t.ask(inner) })
	}
	return group.Wait()
}

// Add sends a layer, and those below it, as soon as they are registered. It returns at once. What
// cannot be sent is tried again by Finish, which gives the error if it fails then too.
func (p *Push) Add(l *Layer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	for ; l != nil && p.layers[l.id] == nil; l = l.Parent() {
		layer, sent := l, make(chan struct{})
		p.layers[l.id] = sent
		p.going.Go(func() {
			defer close(sent)
			if err := p.send(layer); err != nil && p.ctx.Err() == nil {
				p.notices.notice(fmt.Sprintf("a layer could not be sent while the image was built, and is sent now: %v", err))
			}
		})
	}
}

// Finish sends what is left of an image of the store that is made of the layers, its configuration and
// its manifest. It gives the manifests as they were sent, in the order of the names. a is as in NewPush,
// for logins that are not good any more.
func (p *Push) Finish(ctx context.Context, ref string, a registry.Access) ([]imgspec.Descriptor, error) {
	p.notices.tell(a.Notice)
	defer p.notices.tell(nil)
	if err := p.wait(ctx); err != nil {
		return nil, err
	}
	all := make([]imgspec.Descriptor, len(p.targets))
	group, inner := errgroup.WithContext(ctx)
	for i, t := range p.targets {
		group.Go(func() (err error) {
			all[i], err = p.store.Push(inner, ref, t.dest, p.options, a)
			return err
		})
	}
	return all, group.Wait()
}

// wait waits until all layers are sent, or cannot be.
func (p *Push) wait(ctx context.Context) error {
	p.mu.Lock()
	layers := slices.Collect(maps.Values(p.layers))
	p.mu.Unlock()
	for _, sent := range layers {
		select {
		case <-sent:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Close ends what is going on. What has arrived in the registries stays there.
func (p *Push) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	p.going.Wait()
	for _, t := range p.targets {
		if t.to != nil {
			_ = t.to.Close()
		}
		t.session.Close()
	}
	p.targets = nil
}

// target is a name that the image gets in a registry.
type target struct {
	dest, host string
	session    *registry.Session
	to         types.ImageDestination
}

// permission is what NewPush sends: the empty value of the OCI image specification ("Guidance for an
// Empty Descriptor"), which many registries have anyway.
const permission = "{}"

// ask asks whether the target may be pushed to. It does not only begin an upload and give it up: what
// stands before a registry may let that pass and refuse the rest, and registries keep uploads
// that were begun for days.
func (t *target) ask(ctx context.Context) error {
	return t.session.Do(ctx, registry.MayPush, func(ctx context.Context, _ *types.SystemContext) error {
		_, err := t.to.PutBlob(ctx, strings.NewReader(permission), types.BlobInfo{Size: int64(len(permission))}, blobcache.New(), true)
		return err
	})
}

// notices passes on what a caller is told, or keeps it while there is no caller.
type notices struct {
	mu   sync.Mutex
	to   func(string)
	kept []string
}

const mostNotices = 100

func (n *notices) tell(to func(string)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.to = to; to == nil {
		return
	}
	for _, text := range n.kept {
		to(text)
	}
	n.kept = nil
}

func (n *notices) notice(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.to != nil:
		n.to(text)
	case len(n.kept) < mostNotices:
		n.kept = append(n.kept, text)
	}
}
