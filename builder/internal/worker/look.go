//go:build linux

package worker

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"time"

	digest "github.com/opencontainers/go-digest"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/input"
	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/step"
	"github.com/oakum-build/oakum/builder/internal/userns"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/internal/workspace"
	"github.com/oakum-build/oakum/builder/isolation"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/imageref"
	"github.com/oakum-build/oakum/storage/platform"
	"github.com/oakum-build/oakum/storage/registry"
)

// errUnseen is what only a worker can tell or do.
var errUnseen = errors.New("this cannot be found by looking")

// Looker answers, in the process of its caller, those of a worker's calls for which nothing need be done: they look
// up images, steps and committed images that are in the store. Of all else, and of what goes wrong, it gives some error,
// which means nothing but that a worker is to be asked. It has changed nothing then but the times at which layers
// were used last, and the remembered digests of files.
type Looker struct {
	// Means are those that a worker had that was started on the same machine.
	Means  isolation.Means
	w      *worker
	server *wire.Server
}

// remembered is what a worker says in the store to those who look.
type remembered struct {
	For   string // Hello.Remember
	Means isolation.Means
}

// remember tells those who look what worker there is, unless it is one that lacks something: such are asked
// always, since that may be mended.
func (w *worker) remember(h protocol.Hello, means isolation.Means) error {
	if h.Remember == "" || means.Level != isolation.Full || len(w.lacks) > 0 || w.store.Instead() != "" {
		return nil
	}
	raw, err := json.Marshal(remembered{h.Remember, means})
	if err != nil {
		return err
	}
	_ = w.store.RememberOpened(raw) // or a worker is started each time
	return nil
}

// Look opens the store in which a worker has remembered what it was told by Hello.Remember.
func Look(h protocol.Hello) (*Looker, error) {
	h.Store.Look = true
	st, err := storage.Open(h.Store)
	if err != nil {
		return nil, err
	}
	var is remembered
	raw, err := st.Opened()
	if err == nil {
		err = json.Unmarshal(raw, &is)
	}
	if err != nil || is.For != h.Remember {
		return nil, errors.Join(errUnseen, err, st.Close())
	}
	w := newWorker(userns.Plain)
	w.looking, w.store, w.hello, w.spaces = true, st, h, blind{}
	w.steps = step.New(st, w.spaces, st.Records(), func(error) {}) // what the worker finds, too, it tells
	l := &Looker{Means: is.Means, w: w, server: wire.NewServer(protocol.Encode, nil)}
	l.serve()
	return l, nil
}

// Conn is the way to it. Closing that cancels the calls under way.
func (l *Looker) Conn() wire.Conn { return l.server.Local() }

// Close gives the store back, when the Conn is closed.
func (l *Looker) Close() error {
	l.w.steps.Wait()
	return l.w.store.Close()
}

func (l *Looker) serve() {
	s, w := l.server, l.w
	wire.Handle(s, func(ctx context.Context, call *wire.Call, p protocol.Open) (storage.Detail, error) {
		if p.NoCache || p.Explain || p.Push != "" || p.Cache != "" || p.From != nil && !seen(*p.From) {
			return storage.Detail{}, errUnseen
		}
		return w.open(ctx, call, p)
	})
	wire.Handle(s, func(ctx context.Context, call *wire.Call, p protocol.Copy) (protocol.Stepped, error) {
		if slices.ContainsFunc(p.Sources, unseenSource) {
			return protocol.Stepped{}, errUnseen
		}
		return w.come(p.Stage)(w.copy(ctx, call, p))
	})
	wire.Handle(s, func(ctx context.Context, call *wire.Call, p protocol.Mkdir) (protocol.Stepped, error) {
		return w.come(p.Stage)(w.mkdir(ctx, call, p))
	})
	wire.Handle(s, func(ctx context.Context, call *wire.Call, p protocol.Run) (protocol.Stepped, error) {
		if !p.Lookup || slices.ContainsFunc(p.Mounts, func(m input.Mount) bool { return m.IsBind() && unseenSource(*m.Bind) }) {
			return protocol.Stepped{}, errUnseen
		}
		out, err := w.run(ctx, call, p)
		if err == nil && out.Missed {
			err = errUnseen
		}
		return w.come(p.Stage)(out, err)
	})
	wire.Handle(s, w.checkCommand)
	wire.Handle(s, w.layerSizes)
	wire.Handle(s, w.committed)
	wire.Handle(s, w.closeStage)
	wire.Handle(s, w.handOver)
	wire.Handle(s, func(context.Context, *wire.Call, protocol.Remembers) (bool, error) { return w.store.Remembers(), nil })
}

// seen says that an image need not be looked for in a registry or a file.
func seen(image input.Image) bool {
	return (image.Pull == "" || image.Pull == "never") && !imageref.HasTransport(image.Ref)
}

// unseenSource says that files are fetched, or come with the call.
func unseenSource(s input.Source) bool {
	return s.Stream != nil || s.URL != nil || s.Git != nil || s.Image != nil && !seen(*s.Image)
}

// find finds a step.
func find(ctx context.Context, s *step.Stage, op step.Operation) (step.Result, error) {
	r, found, err := s.Find(ctx, op)
	if err == nil && !found {
		err = errUnseen
	}
	return r, err
}

// unseen pulls nothing.
func unseen(context.Context, *wire.Call, string, platform.Platform, registry.Access) (storage.Detail, error) {
	return storage.Detail{}, errUnseen
}

// committed finds the image that would be written.
func (w *worker) committed(ctx context.Context, _ *wire.Call, p protocol.Commit) (storage.Image, error) {
	if p.Edit != nil || len(p.Images) > 0 || p.Squash != "" || p.Inline != "" {
		return storage.Image{}, errUnseen
	}
	s, err := w.stage(p.Stage)
	if err != nil {
		return storage.Image{}, err
	}
	if s.Options().Lookup || s.Top().Gone() {
		return storage.Image{}, errdefs.ErrUncached
	}
	return w.store.Committed(ctx, storage.Commit{
		Top: s.Top(), Names: p.Names, Docker: p.Docker, Annotations: p.Annotations,
		Config: func(diffIDs []digest.Digest, times []time.Time) (json.RawMessage, time.Time, error) {
			return imageConfig(p, nil, diffIDs, times)
		},
	})
}

// blind sees no files of layers.
type blind struct{}

func (blind) View(*storage.Layer) (workspace.View, error) { return nil, errUnseen }
func (blind) Make(context.Context, *storage.Layer, workspace.Change, func(workspace.Workspace) error) (*storage.Layer, error) {
	return nil, errUnseen
}
func (blind) Repeat(context.Context, *storage.Layer, *storage.Layer) (*storage.Layer, error) {
	return nil, errUnseen
}
func (blind) Over(*os.File, []string) (*os.File, func() error, error) { return nil, nil, errUnseen }
func (blind) Close() error                                            { return nil }
