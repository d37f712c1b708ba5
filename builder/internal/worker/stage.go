//go:build linux

package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/input"
	"github.com/oakum-build/oakum/builder/internal/owners"
	"github.com/oakum-build/oakum/builder/internal/passwd"
	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/step"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/internal/workspace"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/imageref"
	"github.com/oakum-build/oakum/storage/platform"
	"github.com/oakum-build/oakum/storage/registry"
)

func (w *worker) stage(id string) (*step.Stage, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, ok := w.stages[id]
	if !ok {
		return nil, fmt.Errorf("%w: no stage %q", errdefs.ErrInvalid, id)
	}
	return s, nil
}

func (w *worker) open(ctx context.Context, call *wire.Call, p protocol.Open) (opened storage.Detail, err error) {
	var base, on *storage.Layer
	cache, err := w.cache(p.Cache)
	if err != nil {
		return opened, err
	}
	origin := step.Origin{Name: p.Name}
	switch {
	case p.Fork != "":
		from, err := w.stage(p.Fork)
		if err != nil {
			return opened, err
		}
		on = from.Options().Image
		origin.Base, origin.BaseDigest = from.Options().Origin.Base, from.Options().Origin.BaseDigest
		if base = from.Top(); base.Gone() && !base.IsElsewhere() && !p.Lookup {
			return opened, errdefs.ErrUncached
		}
		if cache == nil {
			cache = from.Options().Cache
		}
	case p.From != nil:
		if opened, base, err = w.from(ctx, call, p); err != nil {
			return opened, err
		}
		on = base
		origin.Base, origin.BaseDigest = p.From.Ref, opened.Manifest.Digest.String()
	}
	opts := step.Options{
		NoCache: p.NoCache, Build: p.Build, Lookup: p.Lookup, TTL: p.CacheTTL, Image: on, Cache: cache, Times: (*step.Times)(p.Times), WorkdirTimes: (*step.Times)(p.WorkdirTimes),
		Origin: origin, Explain: p.Explain,
	}
	if p.Push != "" {
		push, err := w.push(p.Push)
		if err != nil {
			return opened, err
		}
		opts.Came = push.Add
	}
	return opened, w.addStage(p.Stage, w.steps.Open(base, opts))
}

func (w *worker) addStage(id string, s *step.Stage) error {
	w.mu.Lock()
	_, taken := w.stages[id]
	if taken = taken || id == ""; !taken {
		w.stages[id] = s
	}
	w.mu.Unlock()
	if taken {
		s.Close()
		return fmt.Errorf("%w: stage %q", errdefs.ErrInvalid, id)
	}
	return nil
}

// closeStage forgets a stage once its layers are registered, so that who has closed it finds
// them in the cache.
func (w *worker) closeStage(_ context.Context, _ *wire.Call, p protocol.CloseStage) (wire.None, error) {
	w.mu.Lock()
	s, ok := w.stages[p.Stage]
	delete(w.stages, p.Stage)
	last := len(w.stages) == 0
	w.mu.Unlock()
	if ok {
		s.Wait()
		s.Close()
	}
	if last {
		w.copies.drop()
	}
	return wire.None{}, nil
}

// from finds the image that a stage begins with, and its layer. Of one that is not here nothing but its configuration
// is read, where steps are only looked up: that is enough to find them.
func (w *worker) from(ctx context.Context, call *wire.Call, p protocol.Open) (d storage.Detail, l *storage.Layer, err error) {
	if !p.Lookup || w.looking {
		if d, err = w.base(ctx, call, *p.From, w.puller()); err == nil {
			l, err = w.store.Layer(d.TopLayer)
		}
		return d, l, err
	}
	if d, err = w.base(ctx, call, *p.From, w.peeking(p.Cache)); err != nil {
		return d, nil, err
	}
	if d.ID != "" {
		l, err = w.store.Layer(d.TopLayer)
	} else {
		l, err = w.store.ElsewhereLayers(d.Layers)
	}
	return d, l, err
}

// pullFunc gets an image that is not here, or not the one that is wanted.
type pullFunc func(ctx context.Context, call *wire.Call, ref string, p platform.Platform, reach registry.Access) (storage.Detail, error)

// base finds the base image, pulling it as the policy says. Stages that want the same
// image at once pull it once.
func (w *worker) base(ctx context.Context, call *wire.Call, p input.Image, pull pullFunc) (storage.Detail, error) {
	if strings.HasPrefix(p.Ref, "docker-daemon:") {
		return storage.Detail{}, fmt.Errorf("%w %q: a Docker daemon is not asked for images; write the image to a file with docker save, and name that: docker-archive:FILE", imageref.ErrInvalid, p.Ref)
	}
	if name, here := strings.CutPrefix(p.Ref, "containers-storage:"); here {
		p.Ref, p.Pull = name, "never"
	}
	defer w.pullsAlone(p)()
	choice := p.Platform
	if choice == platform.Host() {
		choice = platform.Platform{} // what is pulled without a choice, and so gets its name
	}
	if imageref.HasTransport(p.Ref) { // the file may have changed
		return w.pullFile(ctx, call, p, choice)
	}
	local, err := w.store.Inspect(p.Ref)
	have := err == nil
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return local, err
	}
	other := error(nil)
	if have && local.Index != nil {
		if local, err = w.store.Choose(local.Image, p.Platform); errors.Is(err, storage.ErrNotFound) {
			have, other, choice = false, err, p.Platform
		} else if err != nil {
			return local, err
		}
	}
	if have && p.Platform != (platform.Platform{}) {
		is, err := local.Platform()
		if err != nil {
			return local, err
		}
		if have = is.Fits(p.Platform); !have {
			choice = p.Platform
			other = fmt.Errorf("the store has it for %s, not for %s", is, p.Platform)
		}
	}
	wanted, err := w.wantPull(ctx, call, p, have, local.Image)
	if err == nil && !wanted {
		return local, nil
	}
	if err == nil {
		older := local
		local, err = pull(ctx, call, p.Ref, choice, p.Access)
		if p.Pull == "newer" && have && remote(err) {
			call.Event(notNewer(err))
			return older, nil
		}
	}
	if err != nil && other != nil {
		err = fmt.Errorf("%w; %w", err, other)
	}
	return local, err
}

// pullsAlone waits until nobody else looks for the same image, and gives what lets the next do so.
func (w *worker) pullsAlone(p input.Image) (done func()) {
	id := p.Ref + " " + p.Platform.String()
	w.mu.Lock()
	lock := w.pulls[id]
	if lock == nil {
		lock = &sync.Mutex{}
		w.pulls[id] = lock
	}
	w.mu.Unlock()
	lock.Lock()
	return lock.Unlock
}

// puller gets the images to build from.
func (w *worker) puller() pullFunc {
	if w.looking {
		return unseen
	}
	return w.pull
}

// do does a step, or only finds it.
func (w *worker) do(ctx context.Context, s *step.Stage, op step.Operation) (step.Result, error) {
	if w.looking {
		return find(ctx, s, op)
	}
	done, err := s.Do(ctx, op)
	if err == nil && done.Changed && !done.Cached {
		w.memory.made()
	}
	return done, err
}

// pull pulls an image to build from.
func (w *worker) pull(ctx context.Context, call *wire.Call, ref string, platform platform.Platform, reach registry.Access) (storage.Detail, error) {
	img, err := w.pulling(call, ref, func() (storage.Image, error) { return w.store.PullBase(ctx, ref, platform, w.access(call, reach)) })
	if err != nil {
		return storage.Detail{}, err
	}
	return w.store.Inspect(img.ID)
}

// pulling tells the caller when a pull begins and ends.
func (w *worker) pulling(call *wire.Call, ref string, pull func() (storage.Image, error)) (storage.Image, error) {
	call.Event(protocol.Event{Pull: ref})
	start := time.Now()
	done := w.memory.moving()
	img, err := pull()
	done()
	e := protocol.Event{Pulled: ref, Took: time.Since(start)}
	if err != nil {
		e.Failed = protocol.Encode(err)
	}
	call.Event(e)
	if err == nil {
		tell(call, w.store.PulledNotices(img, start))
	}
	return img, err
}

func (w *worker) wantPull(ctx context.Context, call *wire.Call, p input.Image, have bool, local storage.Image) (bool, error) {
	switch p.Pull {
	case "always":
		return true, nil
	case "never":
		if !have {
			return false, fmt.Errorf("%w in the store, and pulling is off: %s", storage.ErrNotFound, p.Ref)
		}
		return false, nil
	case "newer":
		if !have {
			return true, nil
		}
		d, err := w.store.RemoteDigest(ctx, p.Ref, w.access(call, p.Access))
		if remote(err) {
			call.Event(notNewer(err))
			return false, nil
		}
		return err == nil && !w.store.HasDigest(local, d), err
	case "":
		return !have, nil
	}
	return false, fmt.Errorf("%w: pull policy %q", errdefs.ErrInvalid, p.Pull)
}

// remote says that an error is of a registry, or that it has no such image.
func remote(err error) bool {
	return errors.Is(err, registry.ErrRegistry) || errors.Is(err, storage.ErrNotFound)
}

// notNewer tells that the store's image is built from because the registry failed.
func notNewer(err error) protocol.Event {
	return protocol.Event{Warning: fmt.Sprintf("the image that is here is built from, for whether there is a newer one is not known: %v", err)}
}

// noting tells a call's caller.
func noting(call *wire.Call) func(string) {
	return func(text string) { call.Event(protocol.Event{Warning: text}) }
}

func (w *worker) mkdir(ctx context.Context, call *wire.Call, p protocol.Mkdir) (protocol.Stepped, error) {
	s, err := w.stage(p.Stage)
	if err != nil {
		return protocol.Stepped{}, err
	}
	times := s.Options().WorkdirTimes
	op := step.Operation{
		Key: workdirKey(p, times), Explained: explaining(call, s),
		Reach: w.reach(call),
		Skip:  func(below *storage.Layer) (bool, error) { return w.dirExists(below, p.Dir) },
		Do: func(_ context.Context, ws workspace.Workspace) (string, error) {
			return "", makeDir(ws, p)
		},
	}
	if times != nil {
		op.Change.Times = append(op.Change.Times, times.Change())
	}
	return stepped(w.do(ctx, s, op))
}

func (w *worker) dirExists(l *storage.Layer, dir string) (bool, error) {
	v, err := w.spaces.View(l)
	if err != nil {
		return false, err
	}
	exists, err := filecopy.IsDir(v.Root(), dir)
	return exists, errors.Join(err, v.Close())
}

func makeDir(ws workspace.Workspace, p protocol.Mkdir) error {
	var owner filecopy.IDs
	var err error
	if owner.UID, owner.GID, err = passwd.LookupDirOwner(ws.Root(), p.User); err != nil {
		return err
	}
	if err := checkOwner("user "+p.User, owner, ws.Owners()); err != nil {
		return err
	}
	d, err := filecopy.MakeDirs(ws.Root(), ws.Owners(), p.Dir, owner, 0o755)
	if err != nil {
		return err
	}
	return d.Close()
}

// owners are for the files of a directory of the worker's own.
func (w *worker) owners() *owners.Owners {
	if w.store.Driver() == storage.DriverTree {
		return owners.New()
	}
	return nil // all that a layer can say, a file can be
}

// checkOwner refuses an owner that files cannot have, unless it is remembered.
func checkOwner(what string, owner filecopy.IDs, own *owners.Owners) error {
	if own != nil {
		return nil
	}
	return passwd.CheckMapped(what, passwd.User{UID: owner.UID, GID: owner.GID})
}
