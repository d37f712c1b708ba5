//go:build linux

package storage

import (
	"context"
	"errors"
	"io"
	"sync"

	blobcache "go.podman.io/image/v5/pkg/blobinfocache/memory"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/errgroup"

	"github.com/oakum-build/oakum/storage/compression"
	"github.com/oakum-build/oakum/storage/internal/transfer"
	"github.com/oakum-build/oakum/storage/registry"
)

// send sends a layer to all targets that do not have it.
func (p *Push) send(l *Layer) error {
	if err := l.Wait(p.ctx); err != nil || l.diffID == "" {
		return nil // the build says why, or there is nothing to know the layer by again
	}
	lacking, err := p.lacking(p.targets, l)
	if err != nil || len(lacking) == 0 {
		return err
	}
	for _, wanted := range []chan struct{}{p.room, p.turn} {
		select {
		case wanted <- struct{}{}:
		case <-p.ctx.Done():
			return p.ctx.Err()
		}
	}
	defer func() { <-p.room }()
	file, err := newSpool(p.scratch)
	if err != nil {
		<-p.turn
		return err
	}
	defer file.close()
	var compressing sync.WaitGroup
	compressing.Go(func() {
		defer func() { <-p.turn }()
		p.compress(l, file)
	})
	err = p.sendAll(lacking, l, file)
	compressing.Wait()
	return err
}

// lacking are those of some targets that do not have a layer, and cannot take it over from another
// repository.
func (p *Push) lacking(targets []*target, l *Layer) ([]*target, error) {
	has := make([]bool, len(targets))
	group, ctx := errgroup.WithContext(p.ctx)
	for i, t := range targets {
		group.Go(func() error {
			return t.session.Do(ctx, registry.PushingTo, func(ctx context.Context, _ *types.SystemContext) (err error) {
				has[i], err = transfer.Find(ctx, t.to, l.diffID, l.size, p.sending())
				return err
			})
		})
	}
	err := group.Wait()
	var lacking []*target
	for i, t := range targets {
		if !has[i] {
			lacking = append(lacking, t)
		}
	}
	return lacking, err
}

// sending are the options of the transfers that Finish does.
func (p *Push) sending() transfer.Options {
	return transfer.Options{Format: p.options.Format, Compression: p.options.Compression, Blobs: p.store.blobs}
}

// compress writes a layer to the spool, and ends that.
func (p *Push) compress(l *Layer, to *spool) {
	var z *compression.Writer
	tar, err := p.store.OpenTar(l)
	if err == nil {
		defer tar.Close()
		z, err = p.options.Compression.NewWriter(to)
	}
	if err != nil {
		to.end(nil, err)
		return
	}
	_, err = io.CopyBuffer(z, untilDone{p.ctx, tar}, make([]byte, 256<<10))
	err = errors.Join(err, z.Close())
	to.end(z.Annotations(), err)
}

// untilDone ends a stream with its context.
type untilDone struct {
	ctx context.Context
	io.Reader
}

func (u untilDone) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.Reader.Read(p)
}

// sendAll sends a blob to targets: to one of each registry, and to the others there if they cannot take it
// over then.
func (p *Push) sendAll(targets []*target, l *Layer, file *spool) error {
	var firsts, others []*target
	hosts := map[string]bool{}
	for _, t := range targets {
		if hosts[t.host] {
			others = append(others, t)
		} else {
			firsts = append(firsts, t)
		}
		hosts[t.host] = true
	}
	err := p.sendEach(firsts, l, file)
	if len(others) > 0 && err == nil {
		if others, err = p.lacking(others, l); err == nil {
			err = p.sendEach(others, l, file)
		}
	}
	return err
}

func (p *Push) sendEach(targets []*target, l *Layer, file *spool) error {
	errs := make([]error, len(targets))
	var sending sync.WaitGroup
	for i, t := range targets {
		sending.Go(func() { errs[i] = p.sendTo(t, l, file) })
	}
	sending.Wait()
	return errors.Join(errs...)
}

// early is how much of a blob there must be before an upload is begun. Of one that is smaller the length
// is known then.
const early = 1 << 20

// sendTo sends a blob to a target, again from its start when that failed for a reason that may pass.
func (p *Push) sendTo(t *target, l *Layer, file *spool) error {
	if _, err := file.wait(early); err != nil {
		return err
	}
	var blob types.BlobInfo
	err := t.session.Do(p.ctx, registry.PushingTo, func(ctx context.Context, _ *types.SystemContext) (err error) {
		blob, err = t.to.PutBlob(ctx, file.reader(), types.BlobInfo{Size: file.whole()}, blobcache.New(), false)
		return err
	})
	if err == nil {
		blob.Annotations = file.annotations // all was read, so that it has ended
		transfer.Note(t.to, l.diffID, blob, p.sending())
	}
	return err
}
