// Package s3 is a place for the layer cache (cache.Place) in a bucket of Amazon S3, or of a service that answers as that does.
package s3

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/oakum-build/oakum/builder/cache"
	"github.com/oakum-build/oakum/builder/cache/internal/objects"
	"github.com/oakum-build/oakum/storage/retry"
)

// Config is how a bucket is reached, and which of the caches in it is meant.
type Config struct {
	Region, Bucket string
	// Endpoint is the URL of another service than Amazon's, and PathStyle says that the bucket is in the path of URLs, and not
	// in the name of the host.
	Endpoint  string
	PathStyle bool
	// AccessKeyID, SecretAccessKey and SessionToken, which may be "", are what lets in.
	AccessKeyID, SecretAccessKey, SessionToken string
	// Prefix is before the names of all objects; Blobs, or "blobs/", follows it for blobs, and Manifests, or "oakum/", for what
	// leads to these. Name tells caches apart; "" is DefaultName.
	Prefix, Blobs, Manifests, Name string
	// Retries is how often a request is made again that failed for a reason that may pass, and RetryDelay the time before that, which
	// doubles each time; 0 is as of builder.Options.
	Retries    int
	RetryDelay time.Duration
}

// DefaultName is Config.Name where that is "".
const DefaultName = "oakum"

const (
	// timeout is how long one object may take.
	timeout = time.Hour
	// part is what is sent at once, and kept in memory until it has arrived; 5 MiB are the least, and 10,000 parts the most.
	part     = 8 << 20
	maxParts = 10_000
	maxName  = 1024
)

// Place is a cache in a bucket. It is safe for many goroutines.
type Place struct {
	*objects.Client
	config Config
	base   url.URL
}

var _ cache.Place = (*Place)(nil)

// Open makes a Place of a Config. It asks the service for nothing.
func Open(c Config) (*Place, error) {
	for _, is := range []struct{ name, value string }{{"region", c.Region}, {"bucket", c.Bucket}, {"access key", c.AccessKeyID}, {"secret access key", c.SecretAccessKey}} {
		if is.value == "" {
			return nil, fmt.Errorf("S3: there is no %s", is.name)
		}
	}
	c.Name, c.Blobs, c.Manifests = cmp.Or(c.Name, DefaultName), cmp.Or(c.Blobs, "blobs/"), cmp.Or(c.Manifests, "oakum/")
	if len(c.Prefix)+max(len(c.Blobs)+80, len(c.Manifests)+len(c.Name)) > maxName {
		return nil, fmt.Errorf("S3: names of objects have at most %d bytes", maxName)
	}
	base, err := endpoint(c)
	if err != nil {
		return nil, err
	}
	p := &Place{config: c, base: base}
	p.Client = objects.New("S3", retry.Policy{Times: c.Retries, Delay: c.RetryDelay}, timeout)
	return p, nil
}

// endpoint is the URL of a bucket.
func endpoint(c Config) (url.URL, error) {
	if strings.ContainsAny(c.Bucket, "/:@?#% ") || strings.ContainsAny(c.Region, "/:@?#% .") {
		return url.URL{}, errors.New("S3: the bucket or the region cannot be one")
	}
	at := c.Endpoint
	if at == "" {
		domain := "amazonaws.com"
		if strings.HasPrefix(c.Region, "cn-") {
			domain += ".cn"
		}
		at = "https://s3." + c.Region + "." + domain
		c.PathStyle = c.PathStyle || strings.Contains(c.Bucket, ".") // no certificate is for a name with more dots
	}
	u, err := url.Parse(at)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" {
		return url.URL{}, errors.New("S3: the endpoint is no URL of http or https")
	}
	base := url.URL{Scheme: u.Scheme, Host: u.Host, Path: strings.TrimSuffix(u.Path, "/")}
	if c.PathStyle {
		base.Path += "/" + c.Bucket
	} else {
		base.Host = c.Bucket + "." + base.Host
	}
	return base, nil
}

// String is how messages call it.
func (p *Place) String() string {
	return "type=s3,bucket=" + p.config.Bucket + ",prefix=" + p.config.Prefix + ",name=" + p.config.Name
}

// request makes what makes requests for an object, which are signed each time that they are made.
func (p *Place) request(ctx context.Context, method, name string, query url.Values, content []byte) func() (*http.Request, error) {
	return func() (*http.Request, error) {
		at := p.base
		at.Path += "/" + p.key(name)
		at.RawPath, at.RawQuery = escape(at.Path), strings.ReplaceAll(query.Encode(), "+", "%20")
		req, err := http.NewRequestWithContext(ctx, method, at.String(), bytes.NewReader(content))
		if err == nil {
			p.config.sign(req, content, time.Now())
		}
		return req, err
	}
}

// key is the name of an object.
func (p *Place) key(name string) string {
	if name == cache.ManifestName {
		return p.config.Prefix + p.config.Manifests + p.config.Name
	}
	return p.config.Prefix + p.config.Blobs + name
}

// escape writes a path as signatures have it: all but unreserved characters is escaped (RFC 3986), where net/url leaves more.
func escape(path string) string {
	var out strings.Builder
	for _, b := range []byte(path) {
		if b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || strings.IndexByte("-._~/", b) >= 0 {
			out.WriteByte(b)
		} else {
			fmt.Fprintf(&out, "%%%02X", b)
		}
	}
	return out.String()
}

// Has says whether there is something of a name.
func (p *Place) Has(ctx context.Context, name string) (has bool, err error) {
	ctx, end := p.Watch(ctx)
	defer end()
	err = p.Do(ctx, p.request(ctx, http.MethodHead, name, nil, nil), func(resp *http.Response, text []byte) error {
		has = resp.StatusCode == http.StatusOK
		if has || resp.StatusCode == http.StatusNotFound {
			return nil
		}
		return refused(resp, text)
	})
	return has, err
}

// Get opens what has a name.
func (p *Place) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	ctx, end := p.Watch(ctx)
	return p.Read(ctx, p.request(ctx, http.MethodGet, name, nil, nil), refused, end)
}

// Put keeps content under a name: in one piece, or in parts, of which nothing is there before the last.
func (p *Place) Put(ctx context.Context, name string, size int64, content io.Reader) error {
	ctx, end := p.Watch(ctx)
	defer end()
	if size <= part {
		return objects.Pieces(content, size, part, 1, func(_ int, all []byte) error {
			return p.Do(ctx, p.request(ctx, http.MethodPut, name, nil, all), succeeded)
		})
	}
	var id string
	err := p.Do(ctx, p.request(ctx, http.MethodPost, name, url.Values{"uploads": {""}}, nil), func(resp *http.Response, text []byte) error {
		if id = element(text, "UploadId"); resp.StatusCode != http.StatusOK || id == "" {
			return refused(resp, text)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := p.putParts(ctx, name, id, size, content); err != nil {
		aside, end := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer end()
		_ = p.Do(aside, p.request(aside, http.MethodDelete, name, url.Values{"uploadId": {id}}, nil), succeeded) // else a rule of the bucket's does
		return err
	}
	return nil
}

// putParts sends the parts of an object, and then that these are all.
func (p *Place) putParts(ctx context.Context, name, id string, size int64, content io.Reader) error {
	list := bytes.NewBufferString("<CompleteMultipartUpload>")
	err := objects.Pieces(content, size, part, maxParts, func(number int, piece []byte) error {
		query := url.Values{"partNumber": {strconv.Itoa(number + 1)}, "uploadId": {id}}
		return p.Do(ctx, p.request(ctx, http.MethodPut, name, query, piece), func(resp *http.Response, text []byte) error {
			if resp.StatusCode == http.StatusOK {
				fmt.Fprintf(list, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", number+1, html.EscapeString(resp.Header.Get("ETag")))
			}
			return succeeded(resp, text)
		})
	})
	if err != nil {
		return err
	}
	list.WriteString("</CompleteMultipartUpload>")
	return p.Do(ctx, p.request(ctx, http.MethodPost, name, url.Values{"uploadId": {id}}, list.Bytes()), func(resp *http.Response, text []byte) error {
		if element(text, "ETag") == "" { // it may begin with a success, and end with an error
			return refused(resp, text)
		}
		return succeeded(resp, text)
	})
}

func succeeded(resp *http.Response, text []byte) error {
	if resp.StatusCode/100 == 2 {
		return nil
	}
	return refused(resp, text)
}

// refused is the error of an answer that is none of success.
func refused(resp *http.Response, text []byte) error {
	status := retry.Status(resp)
	code := element(text, "Code")
	switch region := resp.Header.Get("X-Amz-Bucket-Region"); {
	case resp.StatusCode == http.StatusNotFound && code != "NoSuchBucket":
		return fmt.Errorf("S3: %w", fs.ErrNotExist)
	case resp.StatusCode/100 == 3 && region != "":
		return fmt.Errorf("S3: the bucket is in the region %.40q", region)
	case code == "SlowDown" || code == "InternalError": // also after a status of success
		status.Code = http.StatusServiceUnavailable
	case resp.StatusCode == http.StatusForbidden && code == "": // of HEAD, which has no body
		code = "AccessDenied, or there is no right s3:ListBucket to see that it is not there"
	}
	return fmt.Errorf("S3: %w: %.100q", status, code)
}

// element is the text of the first element of a name in XML, "" if there is none.
func element(text []byte, name string) string {
	_, rest, _ := strings.Cut(string(text), "<"+name+">")
	value, _, found := strings.Cut(rest, "</"+name+">")
	if !found {
		return ""
	}
	return html.UnescapeString(value)
}
