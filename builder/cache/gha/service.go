package gha

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	digest "github.com/opencontainers/go-digest"

	"github.com/oakum-build/oakum/builder/cache/internal/objects"
	"github.com/oakum-build/oakum/storage/retry"
)

// service asks the cache service, whose methods are Twirp's: a POST of JSON, and an answer of JSON
// (https://twitchtv.github.io/twirp/docs/spec_v7.html). They are those of actions/toolkit, packages/cache.
type service struct {
	*objects.Client
	base  *url.URL
	token string
}

const (
	servicePath = "twirp/github.actions.results.api.v1.CacheService"
	// maxRefs is of how many branches entries are read; GitHub names three at most.
	maxRefs = 8
)

// version tells entries of other programs apart, for which the service may have the same keys.
var version = digest.FromString("oakum cache 1").Encoded()

// entry is what all requests have.
type entry struct {
	Key         string   `json:"key"`
	RestoreKeys []string `json:"restore_keys,omitempty"`
	Version     string   `json:"version"`
	SizeBytes   string   `json:"size_bytes,omitempty"` // a 64 bit number is a text in JSON of Protocol Buffers
}

// answer is what all answers have.
type answer struct {
	OK       bool   `json:"ok"`
	Message  string `json:"message"`
	Upload   string `json:"signed_upload_url"`
	Download string `json:"signed_download_url"`
	Matched  string `json:"matched_key"`
}

// find gives the signed URL of an entry with a key, or else of the newest whose key begins with a text; "" is none.
func (s *service) find(ctx context.Context, begins, key string) (at string, err error) {
	a, err := s.call(ctx, "GetCacheEntryDownloadURL", entry{Key: cmp.Or(key, begins), RestoreKeys: []string{begins}, Version: version})
	if errors.Is(err, fs.ErrNotExist) || err == nil && !a.OK {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if a.Matched != key && !strings.HasPrefix(a.Matched, begins) {
		return "", nil // the service takes the key for a beginning, too
	}
	return a.Download, s.checkSigned(a.Download)
}

// create begins an entry, and gives the signed URL to which its content is to be sent. For one that is there, or was begun, the
// error matches fs.ErrExist.
func (s *service) create(ctx context.Context, key string) (to string, err error) {
	a, err := s.call(ctx, "CreateCacheEntry", entry{Key: key, Version: version})
	if err != nil {
		return "", err
	}
	if !a.OK {
		return "", fmt.Errorf("the cache service takes no entry: %.200q", cmp.Or(s.hide(a.Message), "it gives no reason"))
	}
	return a.Upload, s.checkSigned(a.Upload)
}

// finish ends an entry, which is there from then on.
func (s *service) finish(ctx context.Context, key string, size int64) error {
	a, err := s.call(ctx, "FinalizeCacheEntryUpload", entry{Key: key, Version: version, SizeBytes: strconv.FormatInt(size, 10)})
	if err == nil && !a.OK {
		err = fmt.Errorf("the cache service does not keep what was sent: %.200q", cmp.Or(s.hide(a.Message), "it gives no reason"))
	}
	return err
}

// checkSigned refuses what is no URL, and one that anybody on the way could read.
func (s *service) checkSigned(at string) error {
	u, err := url.Parse(at)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != s.base.Scheme {
		return errors.New("the cache service gives an address that is none of https")
	}
	return nil
}

// call asks for a method, again while what fails may pass.
func (s *service) call(ctx context.Context, method string, in entry) (out answer, err error) {
	raw, err := json.Marshal(in)
	if err != nil {
		return out, err
	}
	err = s.Do(ctx, func() (*http.Request, error) {
		req, err := http.NewRequest(http.MethodPost, s.base.JoinPath(method).String(), bytes.NewReader(raw))
		if err == nil {
			req.Header.Set("Authorization", "Bearer "+s.token)
			req.Header.Set("Content-Type", "application/json")
		}
		return req, err
	}, func(resp *http.Response, text []byte) error {
		if resp.StatusCode != http.StatusOK {
			return s.refused(resp, text)
		}
		out = answer{}
		if err := json.Unmarshal(text, &out); err != nil {
			return fmt.Errorf("the cache service answers with what is not JSON: %w", err)
		}
		return nil
	})
	return out, err
}

// refused is the error of an answer that is none of success.
func (s *service) refused(resp *http.Response, text []byte) error {
	var said struct{ Code, Msg string }
	_ = json.Unmarshal(text, &said) // of whatever is between, it is a page
	status := retry.Status(resp)
	switch {
	case said.Code == "already_exists" || resp.StatusCode == http.StatusConflict:
		return fs.ErrExist
	case said.Code == "not_found":
		return fs.ErrNotExist
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		return fmt.Errorf("the cache service does not let in: %w: %.200q; ACTIONS_RUNTIME_TOKEN is good for one job, until it ends", status, s.hide(said.Msg))
	case said.Msg != "":
		return fmt.Errorf("the cache service: %w: %.200q", status, s.hide(said.Msg))
	}
	return fmt.Errorf("the cache service: %w", status)
}

func (s *service) hide(text string) string { return strings.ReplaceAll(text, s.token, "xxxxx") }

// ref is a branch whose entries a token lets read, and perhaps write.
type ref struct {
	name  string
	write bool
}

// readToken reads what a token of GitHub's, a JSON Web Token, allows. It is not checked, which is the service's matter. Of one that is
// none nothing is known, and so that it lets write, too.
func readToken(token string, now time.Time) ([]ref, error) {
	unknown := []ref{{write: true}}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return unknown, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return unknown, nil
	}
	var claims struct {
		Access  string  `json:"ac"`
		Expires float64 `json:"exp"`
	}
	if json.Unmarshal(raw, &claims) != nil {
		return unknown, nil
	}
	if end := time.Unix(int64(claims.Expires), 0); claims.Expires > 0 && now.After(end) {
		return nil, fmt.Errorf("the cache service of GitHub Actions: the token has ended at %s; it is good for one job, until that ends", end.UTC().Format(time.RFC3339))
	}
	var access []struct {
		Scope      string
		Permission int
	}
	if json.Unmarshal([]byte(claims.Access), &access) != nil || len(access) == 0 {
		return unknown, nil
	}
	const mayWrite = 2
	var write, read []ref
	for _, a := range access[:min(len(access), maxRefs)] {
		if a.Permission&mayWrite != 0 {
			write = append(write, ref{a.Scope, true})
		} else {
			read = append(read, ref{a.Scope, false})
		}
	}
	return append(write, read...), nil
}
