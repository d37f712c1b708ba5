package baseimage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// Handler is a registry that holds the images of the OCI layout dir, with those for another
// processor if there are any, and takes pushes, which it keeps in memory.
func Handler(dir string) (http.Handler, error) {
	blobs := &blobs{BlobHandler: registry.NewInMemoryBlobHandler()}
	handler := registry.New(registry.WithBlobHandler(blobs), registry.Logger(log.New(io.Discard, "", 0)))
	for _, dir := range []string{dir, filepath.Join(dir, foreignDir)} {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		blobs.disks = append(blobs.disks, registry.NewDiskBlobHandler(filepath.Join(dir, "blobs")))
		if err := putLayout(handler, dir); err != nil {
			return nil, err
		}
	}
	return handler, nil
}

// putLayout gives the handler the manifests of a layout.
func putLayout(handler http.Handler, dir string) error {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	for _, entry := range manifest.Manifests {
		child, err := index.ImageIndex(entry.Digest)
		if err != nil {
			return err
		}
		if err := putIndex(handler, child, entry.Annotations[refName]); err != nil {
			return err
		}
	}
	return nil
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
	disks                []registry.BlobHandler
}

// missing says that a handler has no such blob.
func missing(err error) bool {
	return errors.Is(err, registry.ErrNotFound) || errors.Is(err, fs.ErrNotExist)
}

func (b *blobs) Get(ctx context.Context, repo string, h v1.Hash) (io.ReadCloser, error) {
	body, err := b.BlobHandler.Get(ctx, repo, h)
	for _, disk := range b.disks {
		if !missing(err) {
			break
		}
		body, err = disk.Get(ctx, repo, h)
	}
	return body, err
}

func (b *blobs) Stat(ctx context.Context, repo string, h v1.Hash) (int64, error) {
	size, err := b.BlobHandler.(registry.BlobStatHandler).Stat(ctx, repo, h)
	for _, disk := range b.disks {
		if !missing(err) {
			break
		}
		size, err = disk.(registry.BlobStatHandler).Stat(ctx, repo, h)
	}
	return size, err
}

func (b *blobs) Put(ctx context.Context, repo string, h v1.Hash, body io.ReadCloser) error {
	return b.BlobHandler.(registry.BlobPutHandler).Put(ctx, repo, h, body)
}
