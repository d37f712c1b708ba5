package buildertest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/isolation"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/platform"
	"github.com/oakum-build/oakum/storage/remotecache"
)

// server does what the worker does, in memory.
type server struct {
	opts Options

	mu     sync.Mutex
	stages map[string]*stage
	cache  map[string]*layer // what steps have given
	images map[string]*image // by id
	names  map[string]string // of images, to their ids
	remote map[string]Image  // what can be pulled, by canonical names
	kept   map[cacheKey]tree // of caches
	held   map[string]*held
	serial int                 // of what was held
	pushes map[string][]string // by their ids, the names that they are to

	travelling map[string]bool           // caches that are open, by their ids
	exported   map[remotecache.At]bool   // those that were written elsewhere
	moved      map[remotecache.At][]byte // caches of commands, the same
}

// stage is an open stage. It belongs to one call at a time, but for what copies from it.
type stage struct {
	protocol.Open
	top *layer
}

// layer is a root file system that a step has made, and is not changed any more.
type layer struct {
	id      string // also its diff ID
	parent  *layer
	files   tree
	size    int64
	created time.Time
}

// root is the empty root file system.
var root = &layer{files: tree{}}

// register gives the server its handlers.
func (s *server) register(w *wire.Server) {
	wire.Handle(w, s.hello)
	wire.Handle(w, s.open)
	wire.Handle(w, s.copy)
	wire.Handle(w, s.mkdir)
	wire.Handle(w, s.run)
	wire.Handle(w, s.rerun)
	wire.Handle(w, s.commit)
	wire.Handle(w, s.checkCommand)
	wire.Handle(w, s.readFile)
	wire.Handle(w, s.latestTime)
	wire.Handle(w, s.layerSizes)
	wire.Handle(w, s.export)
	wire.Handle(w, s.save)
	wire.Handle(w, s.load)
	wire.Handle(w, s.close)
	s.registerImages(w)
}

func (s *server) hello(context.Context, *wire.Call, protocol.Hello) (isolation.Means, error) {
	if len(s.opts.Lacks) > 0 {
		return isolation.Means{Level: isolation.NoCommands, Probes: s.opts.Lacks}, nil
	}
	return isolation.Means{Level: isolation.Full}, nil
}

func (s *server) stage(id string) (*stage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stages[id]
	if st == nil {
		return nil, fmt.Errorf("%w: no stage %q", errdefs.ErrInvalid, id)
	}
	return st, nil
}

func (s *server) open(_ context.Context, call *wire.Call, q protocol.Open) (opened storage.Detail, err error) {
	if err := s.knowsCache(q.Cache); err != nil {
		return opened, err
	}
	op := Operation{Verb: "FROM", Stage: q.Name, From: builder.Scratch}
	if q.From != nil {
		op.From = q.From.Ref
		if q.From.Below != nil {
			below := s.shown(*q.From.Below)
			op.Below = &below
		}
	}
	st := &stage{Open: q, top: root}
	if q.Fork != "" {
		from, err := s.stage(q.Fork)
		if err != nil {
			return opened, err
		}
		op.Verb, op.From, st.top = "FORK", from.Name, from.top
	}
	op.On = st.top.id
	op.Options = stageOptions(q)
	if err := s.begin(&op); err != nil {
		return opened, err
	}
	if q.From != nil {
		img, err := s.base(call, *q.From)
		if err != nil {
			return opened, err
		}
		st.top, opened = img.top, img.Detail
		opened.Config = img.config
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stages[q.Stage] != nil {
		return opened, fmt.Errorf("%w: stage %q", errdefs.ErrInvalid, q.Stage)
	}
	s.stages[q.Stage] = st
	return opened, nil
}

// stageOptions are those that a stage was opened with, as far as they come here.
func stageOptions(q protocol.Open) builder.StageOptions {
	o := builder.StageOptions{Name: q.Name, Build: q.Build, NoCache: q.NoCache, Lookup: q.Lookup}
	if q.From != nil {
		o.Pull = string(q.From.Pull)
	}
	if q.From != nil && q.From.Platform != (platform.Platform{}) {
		o.Platform = q.From.Platform.String()
	}
	if q.Times != nil {
		limit := time.Unix(q.Times.Limit, 0)
		o.LatestTime, o.AllTimes = &limit, q.Times.All
	}
	if q.WorkdirTimes != nil {
		limit := time.Unix(q.WorkdirTimes.Limit, 0)
		o.WorkdirTime = &limit
	}
	return o
}

// begin tells of an operation, and gives the error that it is to end with.
func (s *server) begin(op *Operation) error {
	if s.opts.Before == nil {
		return nil
	}
	err := s.opts.Before(op)
	var exit *builder.ExitError
	if errors.As(err, &exit) { // of which package builder makes an error of its own
		return &errdefs.ExitError{Code: exit.Code, Reason: exit.Reason}
	}
	return err
}

// step is one that changes files.
type step struct {
	verb    string
	key     any    // all that the result depends on beside the layer below and the content
	content string // the digest of what is read
	do      func(files tree) error
}

// do finds a step's layer or makes it.
func (s *server) do(ctx context.Context, call *wire.Call, st *stage, what step) (protocol.Stepped, error) {
	if err := ctx.Err(); err != nil {
		return protocol.Stepped{}, err
	}
	key, err := what.on(st.top)
	if err != nil {
		return protocol.Stepped{}, err
	}
	found := s.known(st, key)
	st.explain(call, found)
	if found != nil {
		return protocol.Stepped{Cached: true, Changed: st.move(found), Layer: found.id}, nil
	}
	if st.Lookup {
		return protocol.Stepped{}, errdefs.ErrUncached
	}
	made := &layer{id: key, parent: st.top, files: maps.Clone(st.top.files), created: now()}
	if err := what.do(made.files); err != nil {
		return protocol.Stepped{}, err
	}
	if st.Times != nil {
		made.limitTimes(*st.Times)
	}
	for _, f := range made.files {
		made.size += int64(len(f.data))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cache[key] = made
	st.top = made
	return protocol.Stepped{Changed: true, Layer: made.id}, nil
}

// on is the key of a step on a layer.
func (what step) on(below *layer) (string, error) {
	raw, err := wire.Marshal(what.key)
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n%s", below.id, what.verb, raw, what.content))
	return hex.EncodeToString(sum[:]), err
}

// known is a step's layer, if there is one that the stage may use.
func (s *server) known(st *stage, key string) *layer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.NoCache {
		return nil
	}
	return s.cache[key]
}

// move makes a layer the stage's, and says whether it is another one.
func (st *stage) move(to *layer) (changed bool) {
	changed = st.top != to
	st.top = to
	return changed
}

// limitTimes gives the files that are new their times.
func (l *layer) limitTimes(times protocol.Times) {
	limit := time.Unix(times.Limit, 0)
	for name, f := range l.files {
		if f != l.parent.files[name] && (times.All || f.time.After(limit)) {
			dated := *f
			dated.time = limit
			l.files[name] = &dated
		}
	}
	if l.created.After(limit) {
		l.created = limit
	}
}

func (s *server) mkdir(ctx context.Context, call *wire.Call, q protocol.Mkdir) (protocol.Stepped, error) {
	st, err := s.stage(q.Stage)
	if err == nil {
		err = s.begin(&Operation{Verb: "WORKDIR", Stage: st.Name, On: st.top.id, Dest: q.Dir})
	}
	if err != nil {
		return protocol.Stepped{}, err
	}
	at, err := st.top.files.resolve(q.Dir, true)
	if err != nil || st.top.files.isDir(at) {
		return protocol.Stepped{Layer: st.top.id}, err
	}
	owner, err := st.top.files.owner(q.User)
	if err != nil {
		return protocol.Stepped{}, err
	}
	dir := file{time: now()}
	if st.WorkdirTimes != nil {
		dir.time = time.Unix(st.WorkdirTimes.Limit, 0)
	}
	if owner != nil {
		dir.uid, dir.gid = owner[0], owner[1]
	}
	q.Stage = ""
	return s.do(ctx, call, st, step{verb: "WORKDIR", key: q, do: func(files tree) error {
		_, err := files.makeDirs(q.Dir, dir)
		return err
	}})
}

func (s *server) run(ctx context.Context, call *wire.Call, q protocol.Run) (protocol.Stepped, error) {
	st, err := s.stage(q.Stage)
	if err != nil {
		return protocol.Stepped{}, err
	}
	if q.Terminal != nil || len(call.Files) < 3 && !q.Lookup {
		return protocol.Stepped{}, fmt.Errorf("%w: there are no terminals here", errors.ErrUnsupported)
	}
	op := Operation{Verb: "RUN", Stage: st.Name, On: st.top.id, Cmd: builder.Cmd{
		Args: q.Args, Env: q.Env, UncachedEnv: q.UncachedEnv, Dir: q.Dir, User: q.User, Isolation: q.Isolation, Files: q.Files, Ephemeral: q.Ephemeral,
	}}
	op.Mounts = s.seen(q.Mounts)
	asked := q
	q.Stage, q.UncachedEnv, q.Lookup, q.OnError, q.Mounts = "", nil, false, false, keyOf(q.Mounts)
	what := step{verb: "RUN", key: q}
	if asked.Lookup {
		if _, what.content, err = s.findMounts(call, asked); err != nil {
			return protocol.Stepped{Missed: true}, nil // the step itself says why
		}
		key, err := what.on(st.top)
		if err != nil || s.known(st, key) == nil {
			return protocol.Stepped{Missed: true}, err
		}
	}
	if err := s.begin(&op); err != nil {
		return protocol.Stepped{}, err
	}
	m := &mounts{}
	if !op.Done {
		if m, what.content, err = s.findMounts(call, asked); err != nil {
			return protocol.Stepped{}, err
		}
	}
	what.do = func(files tree) error {
		h := &held{op.Cmd, Files{tree: files}}
		err := m.show(&h.files)
		defer m.hide(files)
		if err == nil {
			err = s.command(ctx, call, op, h)
		}
		var exit *errdefs.ExitError
		if asked.OnError && errors.As(err, &exit) {
			return s.failed(ctx, call, h, exit)
		}
		return err
	}
	if q.Ephemeral {
		return protocol.Stepped{}, what.do(maps.Clone(st.top.files))
	}
	return s.do(ctx, call, st, what)
}

// command has the test's function run a command. h gets its secrets.
func (s *server) command(ctx context.Context, call *wire.Call, op Operation, h *held) error {
	if _, err := h.files.tree.lookup("etc/passwd", cmp.Or(strings.SplitN(op.Cmd.User, ":", 2)[0], "root")); err != nil {
		return err
	}
	if s.opts.Run == nil || op.Done {
		return nil
	}
	if err := grant(ctx, call, op.Mounts, &h.cmd, &h.files); err != nil {
		return err
	}
	return s.exec(ctx, call, h.cmd, h.files)
}

func (s *server) checkCommand(_ context.Context, _ *wire.Call, q protocol.CheckCommand) ([]string, error) {
	if _, err := s.stage(q.Stage); err != nil || s.opts.CheckCommand == nil {
		return nil, err
	}
	return s.opts.CheckCommand(q.Args), nil
}

func (s *server) readFile(_ context.Context, call *wire.Call, q protocol.ReadFile) ([]byte, error) {
	var data []byte
	if st, err := s.stage(q.From.Stage); err == nil {
		if data, err = st.top.files.read(q.Name); err != nil {
			return nil, err
		}
	} else {
		fsys, done, err := s.openSource(call, &q.From)
		if err != nil {
			return nil, err
		}
		data, err = fs.ReadFile(fsys, clean(q.Name))
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %s", errdefs.ErrNotFound, q.Name)
		}
		if err = errors.Join(err, done()); err != nil {
			return nil, err
		}
	}
	return data[:min(len(data), q.Max)], nil
}

func (s *server) latestTime(_ context.Context, _ *wire.Call, q protocol.LatestTime) (latest time.Time, err error) {
	st, err := s.stage(q.Stage)
	if err != nil {
		return latest, err
	}
	for _, f := range st.top.files {
		if f.mode.IsRegular() && f.time.After(latest) {
			latest = f.time
		}
	}
	return latest, nil
}

func (s *server) close(_ context.Context, _ *wire.Call, q protocol.CloseStage) (wire.None, error) {
	st, err := s.stage(q.Stage)
	if err != nil {
		return wire.None{}, nil // it is closed
	}
	s.mu.Lock()
	delete(s.stages, q.Stage)
	s.mu.Unlock()
	return wire.None{}, s.begin(&Operation{Verb: "CLOSE", Stage: st.Name, On: st.top.id})
}

func sorted(t tree) []string { return slices.Sorted(maps.Keys(t)) }
