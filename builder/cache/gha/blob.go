package gha

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"

	"github.com/oakum-build/oakum/builder/cache/internal/objects"
	"github.com/oakum-build/oakum/storage/retry"
)

// Content lies in Azure's blob storage, or in what answers as that does, at URLs that are signed
// (https://learn.microsoft.com/rest/api/storageservices/put-blob, put-block, put-block-list, get-blob). The token is for the
// service, and goes to none of these.
const (
	storageVersion = "2020-10-02"
	// block is what is sent at once, and kept in memory until it has arrived.
	block = 8 << 20
	// maxBlocks are what a blob may have.
	maxBlocks = 50_000
)

// write sends content of a size: in one piece, or in blocks, of which the list comes last.
func (p *Place) write(ctx context.Context, to string, size int64, content io.Reader) error {
	if size <= block {
		return objects.Pieces(content, size, block, 1, func(_ int, all []byte) error { return p.put(ctx, to, "", all) })
	}
	list := bytes.NewBufferString(`<?xml version="1.0" encoding="utf-8"?><BlockList>`)
	// The ids are as long as those of Azure's own client for Go, from which servers read the number of the block.
	id := make([]byte, 64)
	_, _ = rand.Read(id[:16]) // it never fails
	err := objects.Pieces(content, size, block, maxBlocks, func(number int, piece []byte) error {
		binary.BigEndian.PutUint32(id[16:], uint32(number))
		name := base64.StdEncoding.EncodeToString(id)
		fmt.Fprintf(list, "<Latest>%s</Latest>", name) // of base64, in which there is nothing to escape
		return p.put(ctx, to, "comp=block&blockid="+url.QueryEscape(name), piece)
	})
	if err != nil {
		return err
	}
	list.WriteString("</BlockList>")
	return p.put(ctx, to, "comp=blocklist", list.Bytes())
}

// put sends a piece.
func (p *Place) put(ctx context.Context, to, query string, piece []byte) error {
	if query != "" {
		to += map[bool]string{true: "&", false: "?"}[strings.Contains(to, "?")] + query // the rest is signed as it stands
	}
	return p.Do(ctx, func() (*http.Request, error) {
		req, err := http.NewRequest(http.MethodPut, to, bytes.NewReader(piece))
		if err != nil {
			return nil, err
		}
		req.Header.Set("x-ms-version", storageVersion)
		if query == "" {
			req.Header.Set("x-ms-blob-type", "BlockBlob")
		}
		req.Header.Set("Content-Type", "application/octet-stream")
		return req, nil
	}, func(resp *http.Response, _ []byte) error {
		if resp.StatusCode/100 == 2 {
			return nil
		}
		return fmt.Errorf("writing to the cache service: %w", retry.Status(resp))
	})
}

// read opens what a signed URL leads to. end is called when it is closed, or this fails.
func (p *Place) read(ctx context.Context, at string, end func()) (io.ReadCloser, error) {
	return p.Read(ctx, func() (*http.Request, error) { return http.NewRequest(http.MethodGet, at, nil) }, func(resp *http.Response, _ []byte) error {
		if resp.StatusCode == http.StatusNotFound {
			return fmt.Errorf("%s has it no more: %w", p, fs.ErrNotExist)
		}
		return fmt.Errorf("reading from the cache service: %w", retry.Status(resp))
	}, end)
}
