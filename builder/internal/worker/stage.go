//go:build linux

package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/storage"
)

// stage is a filesystem being built: the layer it has come to, which is in use.
type stage struct {
	mu      sync.Mutex
	layer   *storage.Layer
	use     *storage.Use
	noCache bool
	lookup  bool   // steps are only looked up, also on layers that are gone
	build   string // see fresh.go
	times   *Times
}

func (s *stage) top() *storage.Layer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.layer
}

// claimed is the layer for who reads or mounts its files: others cannot remove it now.
func (s *stage) claimed() (*storage.Layer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.layer.Gone() {
		return nil, errUncached
	}
	return s.layer, s.use.Claim()
}

func (s *stage) wait() { _ = s.top().Wait(context.Background()) }

func (w *worker) stage(id string) (*stage, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, ok := w.stages[id]
	if !ok {
		return nil, fmt.Errorf("%w: no stage %q", errInvalid, id)
	}
	return s, nil
}

func (w *worker) open(ctx context.Context, call *wire.Call, p Open) (Opened, error) {
	var base *storage.Layer
	var out Opened
	switch {
	case p.Fork != "":
		from, err := w.stage(p.Fork)
		if err != nil {
			return out, err
		}
		if base = from.top(); base.Gone() && !p.Lookup {
			return out, errUncached
		}
	case p.From != "":
		d, err := w.base(ctx, call, p)
		if err != nil {
			return out, err
		}
		out.Config = d.Config
		if base, err = w.store.Layer(d.TopLayer); err != nil {
			return out, err
		}
	}
	s := w.newStage(base)
	s.noCache, s.lookup, s.build, s.times = p.NoCache, p.Lookup, p.Build, p.Times
	return out, w.addStage(p.Stage, s)
}

func (w *worker) newStage(base *storage.Layer) *stage {
	return &stage{layer: base, use: w.store.Use(usable(base))}
}

// usable is the layer for a storage.Use. One that is gone needs none.
func usable(l *storage.Layer) *storage.Layer {
	if l.Gone() {
		return nil
	}
	return l
}

func (w *worker) addStage(id string, s *stage) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, taken := w.stages[id]; taken || id == "" {
		s.use.Close()
		return fmt.Errorf("%w: stage %q", errInvalid, id)
	}
	w.stages[id] = s
	w.join(s)
	return nil
}

// closeStage forgets a stage once its layers are registered: an unregistered one would
// lose what later builds could reuse.
func (w *worker) closeStage(id string) error {
	w.mu.Lock()
	s, ok := w.stages[id]
	delete(w.stages, id)
	if ok {
		w.quit(s)
	}
	w.mu.Unlock()
	if ok {
		s.wait()
		s.use.Close()
	}
	return nil
}

// base finds the base image, pulling it as the policy says. Stages that want the same
// image at once pull it once.
func (w *worker) base(ctx context.Context, call *wire.Call, p Open) (storage.Detail, error) {
	if strings.HasPrefix(p.From, "docker-daemon:") {
		return storage.Detail{}, fmt.Errorf("%w %q: a Docker daemon is not asked for images; write the image to a file with docker save, and name that: docker-archive:FILE", storage.ErrReference, p.From)
	}
	if name, here := strings.CutPrefix(p.From, "containers-storage:"); here {
		p.From, p.Pull = name, "never"
	}
	id := p.From + " " + p.Platform.String()
	w.mu.Lock()
	lock := w.pulls[id]
	if lock == nil {
		lock = &sync.Mutex{}
		w.pulls[id] = lock
	}
	w.mu.Unlock()
	lock.Lock()
	defer lock.Unlock()
	choice := p.Platform
	if choice == storage.HostPlatform() {
		choice = storage.Platform{} // what is pulled without a choice, and so gets its name
	}
	if storage.HasTransport(p.From) { // the file may have changed
		return w.pullFile(ctx, call, p, choice)
	}
	local, err := w.store.Inspect(p.From)
	have := err == nil
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return local, err
	}
	other := error(nil)
	if have && p.Platform != (storage.Platform{}) {
		is, err := local.Platform()
		if err != nil {
			return local, err
		}
		if have = is.Fits(p.Platform); !have {
			choice = p.Platform
			other = fmt.Errorf("the store has it for %s, not for %s", is, p.Platform)
		}
	}
	pull, err := w.wantPull(ctx, call, p, have, local.Image)
	if err == nil && !pull {
		return local, nil
	}
	if err == nil {
		local, err = w.pull(ctx, call, p.From, choice, p.Access)
	}
	if err != nil && other != nil {
		err = fmt.Errorf("%w; %w", err, other)
	}
	return local, err
}

// pull pulls an image to build from.
func (w *worker) pull(ctx context.Context, call *wire.Call, ref string, platform storage.Platform, reach storage.Access) (storage.Detail, error) {
	img, err := w.pulling(call, ref, func() (storage.Image, error) { return w.store.PullBase(ctx, ref, platform, w.access(call, reach)) })
	if err != nil {
		return storage.Detail{}, err
	}
	return w.store.Inspect(img.ID)
}

// pulling tells the caller when a pull begins and ends.
func (w *worker) pulling(call *wire.Call, ref string, pull func() (storage.Image, error)) (storage.Image, error) {
	call.Event(Event{Pull: ref})
	start := time.Now()
	img, err := pull()
	e := Event{Pulled: ref, Took: time.Since(start)}
	if err != nil {
		e.Failed = err.Error()
	}
	call.Event(e)
	if err == nil {
		tell(call, w.store.PulledNotices(img, start))
	}
	return img, err
}

func (w *worker) wantPull(ctx context.Context, call *wire.Call, p Open, have bool, local storage.Image) (bool, error) {
	switch p.Pull {
	case "always":
		return true, nil
	case "never":
		if !have {
			return false, fmt.Errorf("%w in the store, and pulling is off: %s", storage.ErrNotFound, p.From)
		}
		return false, nil
	case "newer":
		if !have {
			return true, nil
		}
		d, err := w.store.RemoteDigest(ctx, p.From, w.access(call, p.Access))
		return err == nil && !w.store.HasDigest(local, d), nil
	case "":
		return !have, nil
	}
	return false, fmt.Errorf("%w: pull policy %q", errInvalid, p.Pull)
}

// stepKeyVersion changes when the same operation gives another result than before.
const stepKeyVersion = "oakum step 3"

// operation is one step on a stage.
type operation struct {
	// what goes into the key with the layer below: everything the result depends on
	// but the content read.
	what any
	// content digests what the step would read; nil when it reads nothing.
	content func(ctx context.Context) (string, error)
	// skip says that the layer below is the result already; nil when it never is.
	skip func(below *storage.Layer) (bool, error)
	// do makes the layer in staging and gives the content's digest.
	do func(ctx context.Context, below *storage.Layer, staging storage.Staging) (string, error)
	// note is told what the files that were made lost, for layers do not hold it; nil
	// tells nobody.
	note func(string)
}

// noting tells a call's caller.
func noting(call *wire.Call) func(string) {
	return func(text string) { call.Event(Event{Warning: text}) }
}

// timed is what goes into the key of a step whose files get other times.
type timed struct {
	Kind  string // the type of What
	What  any
	Times Times
}

// key is an operation's key on a layer of the stage.
func (s *stage) key(below *storage.Layer, what any) (string, error) {
	if s.times != nil {
		what = timed{fmt.Sprintf("%T", what), what, *s.times}
	}
	return stepKey(below, what)
}

func stepKey(below *storage.Layer, what any) (string, error) {
	data, err := wire.Marshal(what)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n%T\n", stepKeyVersion, below.ID(), what)
	h.Write(data)
	return hex.EncodeToString(h.Sum(nil)), nil
}

// step finds an operation's layer in the cache or does it. A step that another stage
// is just doing is waited for and then found.
func (w *worker) step(ctx context.Context, s *stage, op operation) (Stepped, error) {
	below := s.top()
	key, err := s.key(below, op.what)
	if err != nil {
		return Stepped{}, err
	}
	release := func() {}
	if !s.noCache || s.build != "" {
		if release, err = w.claim(ctx, key); err != nil {
			return Stepped{}, err
		}
		found, err := w.lookup(ctx, s, key, op)
		if err != nil || found {
			release()
			return Stepped{Cached: true, Changed: s.top().ID() != below.ID()}, err
		}
	}
	if s.lookup {
		release()
		return Stepped{}, errUncached
	}
	if below, err = s.claimed(); err != nil {
		release()
		return Stepped{}, err
	}
	if op.skip != nil {
		skip, err := op.skip(below)
		if err != nil {
			release()
			return Stepped{}, err
		}
		if skip {
			w.keep(s, key, "", below)
			w.recordLater(key, "", below, below, release)
			return Stepped{}, nil
		}
	}
	return w.do(ctx, s, below, key, op, release)
}

// known asks the cache for a step without doing it.
func (w *worker) known(ctx context.Context, s *stage, op operation) (Stepped, error) {
	below := s.top()
	key, err := s.key(below, op.what)
	if err != nil || s.noCache {
		return Stepped{Missed: true}, err
	}
	found, err := w.lookup(ctx, s, key, op)
	return Stepped{Cached: found, Missed: !found, Changed: s.top().ID() != below.ID()}, err
}

// claim waits until no other stage is doing the step.
func (w *worker) claim(ctx context.Context, key string) (func(), error) {
	for {
		w.mu.Lock()
		busy, ok := w.steps[key]
		if !ok {
			mine := make(chan struct{})
			w.steps[key] = mine
			w.mu.Unlock()
			return func() {
				w.mu.Lock()
				delete(w.steps, key)
				w.mu.Unlock()
				close(mine)
			}, nil
		}
		w.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (w *worker) lookup(ctx context.Context, s *stage, key string, op operation) (bool, error) {
	if s.noCache {
		l, found, err := w.done(ctx, s, key, op)
		if found {
			s.set(l)
		}
		return found, err
	}
	if !w.store.StepSeen(key) {
		return false, nil
	}
	content := ""
	if op.content != nil {
		var err error
		if content, err = op.content(ctx); err != nil {
			return false, err
		}
	}
	l, found := w.store.Step(key, content)
	if !found && s.lookup {
		l, found = w.store.Remembered(key, content)
	}
	if !found {
		return false, nil
	}
	s.set(l)
	return true, nil
}

func (s *stage) set(l *storage.Layer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.layer = l
	s.use.Move(usable(l))
}

func (w *worker) do(ctx context.Context, s *stage, below *storage.Layer, key string, op operation, release func()) (Stepped, error) {
	content := ""
	l, err := w.store.MakeLayer(ctx, below, func(staging storage.Staging) (err error) {
		if content, err = op.do(ctx, below, staging); err != nil || s.times == nil {
			return err
		}
		return s.times.set(staging.Upper)
	})
	if err != nil {
		release()
		return Stepped{}, err
	}
	for _, text := range l.Notices() {
		if op.note != nil {
			op.note(text)
		}
	}
	s.set(l)
	w.keep(s, key, content, l)
	w.recordLater(key, content, below, l, release)
	return Stepped{Changed: true}, nil
}

// recordLater remembers a step's layer once it is registered, and then lets others do
// the step.
func (w *worker) recordLater(key, content string, below, l *storage.Layer, release func()) {
	w.bg.Go(func() {
		defer release()
		if l.Wait(context.Background()) != nil {
			return // the next call on the stage tells
		}
		if err := w.store.RecordStep(key, content, below, l); err != nil {
			fmt.Fprintln(os.Stderr, "layer cache:", err)
		}
	})
}

func (w *worker) mkdir(ctx context.Context, p Mkdir) (Stepped, error) {
	s, err := w.stage(p.Stage)
	if err != nil {
		return Stepped{}, err
	}
	return w.step(ctx, s, operation{
		what: p.key(),
		skip: func(below *storage.Layer) (bool, error) { return w.dirExists(below, p.Dir) },
		do: func(_ context.Context, below *storage.Layer, staging storage.Staging) (string, error) {
			err := w.makeDir(below, staging, p)
			if err == nil && p.Times != nil {
				err = p.Times.set(staging.Upper)
			}
			return "", err
		},
	})
}

// set gives a layer's files their times.
func (t Times) set(upper string) error {
	dir, err := os.Open(upper)
	if err != nil {
		return err
	}
	defer dir.Close()
	return filecopy.LimitTimes(dir, time.Unix(t.Limit, 0), t.All)
}

func (p Mkdir) key() any {
	p.Stage = ""
	return p
}

func (w *worker) dirExists(l *storage.Layer, dir string) (bool, error) {
	m, err := w.mount(l, nil, false)
	if err != nil {
		return false, err
	}
	exists, err := filecopy.IsDir(m.root, dir)
	return exists, errors.Join(err, m.close())
}

func (w *worker) makeDir(below *storage.Layer, staging storage.Staging, p Mkdir) error {
	m, err := w.mount(below, &staging, false)
	if err != nil {
		return err
	}
	err = func() error {
		var owner filecopy.IDs
		var err error
		if owner.UID, owner.GID, err = sandbox.LookupDirOwner(m.root, p.User); err != nil {
			return err
		}
		if err := checkMapped("user "+p.User, sandbox.User{UID: owner.UID, GID: owner.GID}); err != nil {
			return err
		}
		d, err := filecopy.MakeDirs(m.root, p.Dir, owner, 0o755)
		if err != nil {
			return err
		}
		return d.Close()
	}()
	return errors.Join(err, m.close())
}
