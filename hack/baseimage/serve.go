package baseimage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// Handler is a registry that holds the images of the OCI layout dir, and takes
// pushes, which it keeps in memory.
func Handler(dir string) (http.Handler, error) {
	blobs := &blobs{BlobHandler: registry.NewInMemoryBlobHandler(), disk: registry.NewDiskBlobHandler(filepath.Join(dir, "blobs"))}
	handler := registry.New(registry.WithBlobHandler(blobs), registry.Logger(log.New(io.Discard, "", 0)))
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, entry := range manifest.Manifests {
		child, err := index.ImageIndex(entry.Digest)
		if err != nil {
			return nil, err
		}
		if err := putIndex(handler, child, entry.Annotations[refName]); err != nil {
			return nil, err
		}
	}
	return handler, nil
}

// putIndex gives the handler the manifests of an index and of its images.
func putIndex(handler http.Handler, index v1.ImageIndex, name string) error {
	repo, tag, ok := strings.Cut(name, ":")
	if !ok {
		return fmt.Errorf("the layout names an image %q, not repository:tag", name)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	for _, entry := range manifest.Manifests {
		img, err := index.Image(entry.Digest)
		if err != nil {
			return err
		}
		body, err := img.RawManifest()
		if err != nil {
			return err
		}
		if err := putManifest(handler, repo, entry.Digest.String(), string(entry.MediaType), body); err != nil {
			return err
		}
	}
	body, err := index.RawManifest()
	if err != nil {
		return err
	}
	return putManifest(handler, repo, tag, string(manifest.MediaType), body)
}

func putManifest(handler http.Handler, repo, ref, mediaType string, body []byte) error {
	request := httptest.NewRequest(http.MethodPut, "/v2/"+repo+"/manifests/"+ref, bytes.NewReader(body))
	request.Header.Set("Content-Type", mediaType)
	response := httptest.NewRecorder()
	handler.ServeHTTP(response, request)
	if response.Code != http.StatusCreated {
		return fmt.Errorf("%s:%s: the registry answered %d: %s", repo, ref, response.Code, response.Body)
	}
	return nil
}

// Serve serves the OCI layout dir on address (host:port, port 0 is any free one)
// until the context ends. It returns the address it listens on.
func Serve(ctx context.Context, dir, address string) (string, error) {
	handler, err := Handler(dir)
	if err != nil {
		return "", err
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return "", fmt.Errorf("serving the base images: %w", err)
	}
	server := &http.Server{Handler: handler}
	context.AfterFunc(ctx, func() { server.Close() })
	go server.Serve(listener)
	return listener.Addr().String(), nil
}

// RegistriesConf is a registries.conf that finds Docker Hub's images, and only
// those, in the registry at address.
func RegistriesConf(address string) string {
	return fmt.Sprintf(`unqualified-search-registries = ["docker.io"]

[[registry]]
prefix = "docker.io"
location = %q
insecure = true

[[registry]]
location = %q
insecure = true
`, address, address)
}

// blobs reads the layout's blobs and keeps those that are pushed in memory.
type blobs struct {
	registry.BlobHandler // in memory
	disk                 registry.BlobHandler
}

func (b *blobs) Get(ctx context.Context, repo string, h v1.Hash) (io.ReadCloser, error) {
	body, err := b.BlobHandler.Get(ctx, repo, h)
	if errors.Is(err, registry.ErrNotFound) {
		return b.disk.Get(ctx, repo, h)
	}
	return body, err
}

func (b *blobs) Stat(ctx context.Context, repo string, h v1.Hash) (int64, error) {
	size, err := b.BlobHandler.(registry.BlobStatHandler).Stat(ctx, repo, h)
	if errors.Is(err, registry.ErrNotFound) {
		return b.disk.(registry.BlobStatHandler).Stat(ctx, repo, h)
	}
	return size, err
}

func (b *blobs) Put(ctx context.Context, repo string, h v1.Hash, body io.ReadCloser) error {
	return b.BlobHandler.(registry.BlobPutHandler).Put(ctx, repo, h, body)
}
