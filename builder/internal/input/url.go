//go:build linux

package input

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	digest "github.com/opencontainers/go-digest"

	"github.com/oakum-build/oakum/builder/internal/download"
	"github.com/oakum-build/oakum/builder/internal/step"
	"github.com/oakum-build/oakum/builder/internal/workspace"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/retry"
	"github.com/oakum-build/oakum/storage/wholefile"
)

// literal makes a pattern that matches a name alone.
var literal = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

// findURL downloads a file unless the store has it: when its checksum is known, or when the
// server says that the file is the one that was downloaded last.
func findURL(ctx context.Context, env Env, src *Source) (files, error) {
	u := *src.URL
	if err := checkAuthorization(u.Authorization, u.URL); err != nil {
		return nil, err
	}
	if err := download.Check(u.URL); err != nil {
		return nil, invalid("%w", err)
	}
	want := digest.Digest(u.Checksum)
	if u.Checksum != "" {
		if err := want.Validate(); err != nil {
			return nil, invalid("checksum %q: %w", u.Checksum, err)
		}
	}
	content := ""
	if want != "" && want.Algorithm() == digest.SHA256 {
		content = want.Encoded()
	}
	d := &downloading{
		store: env.Store, fresh: env.Call.Fresh, retry: env.Call.Retry, want: want,
		request: download.Request{URL: u.URL, Authorization: u.Authorization},
	}
	src.Patterns = []string{literal.Replace(download.Name(u.URL))}
	return fetched(ctx, env, src, Fetch{Key: urlKey(u), Content: content, Fresh: env.Call.Fresh, Make: d.into})
}

// checkAuthorization refuses to send credentials where everybody on the way can read them.
func checkAuthorization(header, url string) error {
	if strings.ContainsFunc(header, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return invalid("the authorization has a line break or another control character")
	}
	if header == "" {
		return nil
	}
	return download.GuardCredentials(url)
}

// downloading is one download.
type downloading struct {
	store   *storage.Store
	fresh   bool
	retry   retry.Policy
	want    digest.Digest // "" is any
	request download.Request
}

// into downloads the file into a root, unless the store has it.
func (d *downloading) into(ctx context.Context, have func(string) bool, place workspace.Workspace) (string, error) {
	req, known := d.request, d.known()
	if known.SHA256 != "" && !d.fresh && d.want == "" && have(known.SHA256) {
		req.Known, req.Modified = known.Validators, known.Modified
	}
	root, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", place.Root().Fd()))
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
	err = d.retry.Do(ctx, "downloading "+download.Redacted(req.URL), retry.Temporary, func() (err error) {
		if got, err = download.Get(ctx, req, f, d.want); err != nil {
			_, seekErr := f.Seek(0, io.SeekStart)
			err = errors.Join(err, f.Truncate(0), seekErr)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	if got.Unchanged {
		return known.SHA256, step.ErrFound
	}
	d.know(downloaded{got.Validators, got.SHA256, got.Modified})
	// The store may have these bytes though the server has sent them. The layer that has them is of
	// use only when the file's time is the same, too, and that is known of the newest one alone,
	// which is that of the last download.
	if !d.fresh && known.SHA256 == got.SHA256 && known.Modified.Equal(got.Modified) && have(got.SHA256) {
		return got.SHA256, step.ErrFound
	}
	return got.SHA256, errors.Join(f.Chmod(0o600), root.Chtimes(name, got.Modified, got.Modified))
}

// downloaded is what is known of the last file that a URL gave.
type downloaded struct {
	download.Validators
	SHA256   string
	Modified time.Time
}

// record is where that is kept.
func (d *downloading) record() string {
	return fmt.Sprintf("urls/%x", sha256.Sum256([]byte(download.Redacted(d.request.URL))))
}

func (d *downloading) known() downloaded {
	var known downloaded
	if data, err := d.store.Private().ReadFile(d.record()); err != nil || json.Unmarshal(data, &known) != nil {
		return downloaded{}
	}
	return known
}

// know remembers what a server said of a file. A lost write costs a download.
func (d *downloading) know(now downloaded) {
	data, err := json.Marshal(now)
	if err != nil {
		return
	}
	_ = wholefile.In(d.store.Private(), d.record(), data, 0o600)
}
