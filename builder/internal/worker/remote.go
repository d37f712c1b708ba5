//go:build linux

package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	digest "github.com/opencontainers/go-digest"

	"github.com/oakum-build/oakum/builder/internal/download"
	"github.com/oakum-build/oakum/builder/internal/gitrepo"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/retry"
)

// What a remote source names is fetched into a layer of its own, on nothing, and copied
// from there as from a stage: the store's staging, locks and cache serve for it too.

// Remote is a source that is fetched.
type Remote struct {
	URL        string // a file
	Git        string // or a repository
	Checksum   string // of the file, or the beginning of the commit; "" is any
	KeepGitDir *bool  // nil is what the reference says
	// CommitTimes gives a repository's files the time of their commit.
	CommitTimes bool
	// Authorization is the header for the server, and Agent the socket for ssh; "" is none.
	Authorization, Agent string
}

// The steps that fetch. Credentials are not part of them.
type (
	urlKey struct{ URL string }
	gitKey struct {
		Remote, Subdir                    string
		Keep, SkipSubmodules, CommitTimes bool
	}
)

// fetchSources makes stages of a Copy's remote sources. They are forgotten by done.
func (w *worker) fetchSources(ctx context.Context, call *wire.Call, p *Copy, fresh bool) (done func(), err error) {
	var made []string
	done = func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, id := range made {
			if s := w.stages[id]; s != nil {
				s.use.Close()
			}
			delete(w.stages, id)
		}
	}
	for i := range p.Sources {
		src := &p.Sources[i]
		if src.Remote == nil {
			continue
		}
		l, err := w.fetch(ctx, *src.Remote, fresh, w.retrying(call))
		if err != nil {
			done()
			return nil, err
		}
		src.Stage = fmt.Sprintf("fetched %d", w.next())
		if src.Remote.URL != "" {
			src.Patterns = []string{literal.Replace(download.Name(src.Remote.URL))}
		}
		src.Timed = src.Remote.timed()
		src.Remote = nil // what came counts for the cache, not where from
		made = append(made, src.Stage)
		if err := w.addStage(src.Stage, w.newStage(l)); err != nil {
			done()
			return nil, err
		}
	}
	return done, nil
}

// timed says that the times of what is fetched are not just those of the fetching.
func (r Remote) timed() bool {
	ref, err := gitrepo.Parse(r.Git)
	return r.URL != "" || r.CommitTimes || err == nil && ref.CommitTime
}

// literal makes a pattern that matches a name alone.
var literal = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

func (w *worker) fetch(ctx context.Context, r Remote, fresh bool, again retry.Policy) (*storage.Layer, error) {
	if strings.ContainsFunc(r.Authorization, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return nil, fmt.Errorf("%w: the authorization has a line break or another control character", errInvalid)
	}
	if err := r.guard(); err != nil {
		return nil, err
	}
	if r.Git != "" {
		return w.fetchGit(ctx, r, fresh, again)
	}
	return w.fetchURL(ctx, r, fresh, again)
}

// guard refuses to send credentials where everybody on the way can read them.
func (r Remote) guard() error {
	if r.Authorization == "" {
		return nil
	}
	text := r.URL
	if ref, err := gitrepo.Parse(r.Git); err == nil && r.Git != "" {
		text = ref.Remote
	}
	return download.GuardCredentials(text)
}

func (w *worker) fetchGit(ctx context.Context, r Remote, fresh bool, again retry.Policy) (*storage.Layer, error) {
	ref, err := gitrepo.Parse(r.Git)
	if err == nil {
		err = gitrepo.CheckSum(r.Checksum)
	}
	if err != nil {
		return nil, err
	}
	ref.Authorization, ref.Agent, ref.Retry = r.Authorization, r.Agent, again
	ref.CommitTime = ref.CommitTime || r.CommitTimes
	keep := ref.KeepGitDir != nil && *ref.KeepGitDir
	if r.KeepGitDir != nil {
		if ref.KeepGitDir != nil && keep != *r.KeepGitDir {
			return nil, fmt.Errorf("%w: keep-git-dir is both %t and %t", errInvalid, keep, *r.KeepGitDir)
		}
		keep = *r.KeepGitDir
	}
	if r.Checksum != "" {
		if ref.Checksum != "" && ref.Checksum != r.Checksum {
			return nil, fmt.Errorf("%w: the checksum is both %s and %s", errInvalid, ref.Checksum, r.Checksum)
		}
		ref.Checksum = r.Checksum
	}
	ref = ref.Settle(ctx)
	found, err := ref.Resolve(ctx)
	if err != nil {
		return nil, err
	}
	key, err := stepKey(nil, gitKey{ref.Public(), ref.Subdir, keep, ref.SkipSubmodules, ref.CommitTime})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(found.Commit))
	content := hex.EncodeToString(sum[:])
	return w.fetched(ctx, key, fresh, content, func(ctx context.Context, staging storage.Staging) (string, error) {
		return content, ref.Checkout(ctx, found, keep, staging.Work, staging.Upper)
	})
}

// fetched finds the layer for a content, if that is known already, or makes it. fill may
// find that the layer of a content is there, and gives errUnchanged then.
func (w *worker) fetched(ctx context.Context, key string, fresh bool, content string, fill func(context.Context, storage.Staging) (string, error)) (*storage.Layer, error) {
	release, err := w.claim(ctx, key)
	if err != nil {
		return nil, err
	}
	if content != "" && !fresh {
		if l, ok := w.store.Step(key, content); ok {
			release()
			return l, nil
		}
	}
	s := w.newStage(nil)
	defer s.use.Close()
	_, err = w.do(ctx, s, nil, key, operation{do: func(ctx context.Context, _ *storage.Layer, staging storage.Staging) (string, error) {
		c, err := fill(ctx, staging)
		content = c
		return c, err
	}}, release)
	if errors.Is(err, errUnchanged) {
		if l, ok := w.store.Step(key, content); ok {
			return l, nil
		}
	}
	return s.top(), err
}

// errUnchanged ends a download whose file is in the store.
var errUnchanged = errors.New("the file is in the store")

// downloaded is what is known of the last file that a URL gave.
type downloaded struct {
	download.Validators
	SHA256   string
	Modified time.Time
}

func (w *worker) fetchURL(ctx context.Context, r Remote, fresh bool, again retry.Policy) (*storage.Layer, error) {
	if err := download.Check(r.URL); err != nil {
		return nil, fmt.Errorf("%w: %w", errInvalid, err)
	}
	want := digest.Digest(r.Checksum)
	if r.Checksum != "" {
		if err := want.Validate(); err != nil {
			return nil, fmt.Errorf("%w: checksum %q: %w", errInvalid, r.Checksum, err)
		}
	}
	key, err := stepKey(nil, urlKey{download.Redacted(r.URL)})
	if err != nil {
		return nil, err
	}
	content := ""
	if want != "" && want.Algorithm() == digest.SHA256 {
		content = want.Encoded()
	}
	return w.fetched(ctx, key, fresh, content, func(ctx context.Context, staging storage.Staging) (string, error) {
		return w.downloadInto(ctx, download.Request{URL: r.URL, Authorization: r.Authorization}, want, key, fresh, again, staging)
	})
}

// downloadInto downloads a file unless the store has it.
func (w *worker) downloadInto(ctx context.Context, req download.Request, want digest.Digest, key string, fresh bool, again retry.Policy, staging storage.Staging) (string, error) {
	known := w.downloaded(key)
	if _, have := w.store.Step(key, known.SHA256); have && known.SHA256 != "" && !fresh && want == "" {
		req.Known, req.Modified = known.Validators, known.Modified
	}
	root, err := os.OpenRoot(staging.Upper)
	if err != nil {
		return "", err
	}
	defer root.Close()
	name := download.Name(req.URL)
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var got download.Result
	err = again.Do(ctx, "downloading "+download.Redacted(req.URL), retry.Temporary, func() (err error) {
		if got, err = download.Get(ctx, req, f, want); err != nil {
			_, seekErr := f.Seek(0, io.SeekStart)
			err = errors.Join(err, f.Truncate(0), seekErr)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	if got.Unchanged {
		return known.SHA256, errUnchanged
	}
	w.know(key, downloaded{got.Validators, got.SHA256, got.Modified})
	// The newest layer with these bytes has the time of when they were last downloaded.
	if _, have := w.store.Step(key, got.SHA256); have && !fresh && known.SHA256 == got.SHA256 && known.Modified.Equal(got.Modified) {
		return got.SHA256, errUnchanged
	}
	return got.SHA256, errors.Join(f.Chmod(0o600), root.Chtimes(name, got.Modified, got.Modified))
}

func (w *worker) downloaded(key string) downloaded {
	var d downloaded
	if data, err := w.store.Private().ReadFile("urls/" + key); err != nil || json.Unmarshal(data, &d) != nil {
		return downloaded{}
	}
	return d
}

// know remembers what a server said of a file. A lost write costs a download.
func (w *worker) know(key string, d downloaded) {
	data, err := json.Marshal(d)
	if err != nil {
		return
	}
	tmp := fmt.Sprintf("urls/%s.%d", key, w.next())
	if w.store.Private().WriteFile(tmp, data, 0o600) == nil {
		_ = w.store.Private().Rename(tmp, "urls/"+key)
	}
}
