//go:build linux

package e2e

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/oakum-build/oakum/hack/chaos"
	"github.com/oakum-build/oakum/hack/internal/imagetree"
)

// A kind of place that an image is written to.
type kind string

const (
	inRegistry    kind = "docker"
	ociLayout     kind = "oci"
	ociArchive    kind = "oci-archive"
	dockerArchive kind = "docker-archive"
	directory     kind = "dir"
)

// An output is one way to write an image, with each compression that it has.
type output struct {
	name string
	kind kind
	// write writes the image app to place, which is a path or a name in a registry. of is a
	// compression, or "" for the output's own.
	write func(place, of string) []string
	// own is the compression of layers where none is asked for, and others are those that may be.
	own    string
	others []string
	loaded bool // by oakum load, not pulled
}

func pushing(k kind, more ...string) func(place, of string) []string {
	return func(place, of string) []string {
		args := append([]string{"push", "-q", "--tls-verify=false"}, more...)
		if of != "" {
			args = append(args, "--compression-format", of, "--force-compression")
		}
		if k == inRegistry {
			return append(args, "app", "docker://"+place)
		}
		if k == directory {
			return append(args, "app", "dir:"+place)
		}
		return append(args, "app", string(k)+":"+place+":example.com/app:1")
	}
}

func building(attributes string) func(place, of string) []string {
	return func(place, of string) []string {
		output := attributes + ",dest=" + place
		args := []string{"build", "-q", "--tls-verify=false", "-t", "example.com/app:1"}
		if strings.Contains(attributes, "push=true") || strings.Contains(attributes, "type=registry") {
			output, args = attributes+",name="+place, args[:3]
		}
		if of != "" {
			output += ",compression=" + of + ",force-compression=true"
		}
		return append(args, "-o", output, "build")
	}
}

func saving(format string) func(place, of string) []string {
	return func(place, _ string) []string { return []string{"save", "-q", "--format", format, "-o", place, "app"} }
}

// layersOf are the media types of layers by compression, in OCI's format and in Docker's.
var layersOf = map[string][]string{
	"gzip":         {"application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.docker.image.rootfs.diff.tar.gzip"},
	"zstd":         {"application/vnd.oci.image.layer.v1.tar+zstd", "application/vnd.docker.image.rootfs.diff.tar.zstd"},
	"zstd:chunked": {"application/vnd.oci.image.layer.v1.tar+zstd", "application/vnd.docker.image.rootfs.diff.tar.zstd"},
	"uncompressed": {"application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar"},
}

// Every output, with every compression, is the image to other programs: skopeo, umoci, podman and
// the library of crane read it, and find the same configuration, files and layers.
func TestOutputsAreRead(t *testing.T) {
	h := newHome(t)
	r := chaos.New(t)
	h.context("build", "FROM busybox\nRUN mkdir /d && echo text >/d/file && ln -s file /d/link && ln /d/file /d/hard && chmod 4711 /d/hard\n"+
		"RUN rm -r /d/link /usr && chown 1:2 /d\nCMD [\"cat\", \"/d/file\"]\n")
	h.run(oakum, "build", "-q", "-t", "app", "build")
	id := strings.TrimPrefix(strings.TrimSpace(h.run(oakum, "images", "-q", "--no-trunc", "app")), "sha256:")
	want := h.export("localhost/app")
	slow := map[string]bool{} // once of each kind and compression
	others := []string{"zstd", "zstd:chunked", "uncompressed"}
	for _, out := range []output{
		{"push", inRegistry, pushing(inRegistry), "gzip", others, false},
		{"push in Docker's format", inRegistry, pushing(inRegistry, "--format", "docker"), "gzip", []string{"uncompressed"}, false},
		{"push to a layout", ociLayout, pushing(ociLayout), "gzip", []string{"zstd:chunked"}, false}, // an archive is one inside
		{"push to an archive", ociArchive, pushing(ociArchive), "gzip", others, false},
		{"push to a directory", directory, pushing(directory), "uncompressed", nil, false},
		{"push to Docker's archive", dockerArchive, pushing(dockerArchive), "uncompressed", nil, false},
		{"build to the registry", inRegistry, building("type=registry"), "gzip", others, false},
		{"build and push", inRegistry, building("type=image,push=true"), "gzip", nil, false}, // the same in other words
		{"build to an archive", ociArchive, building("type=oci"), "gzip", others, true},
		{"build to Docker's archive", dockerArchive, building("type=docker"), "uncompressed", nil, true},
		{"save", dockerArchive, saving("docker-archive"), "uncompressed", nil, true},
		{"save a layout", ociArchive, saving("oci-archive"), "gzip", nil, true},
	} {
		for _, compression := range append([]string{""}, out.others...) {
			mediaTypes := layersOf[cmp.Or(compression, out.own)]
			t.Run(out.name+" as "+cmp.Or(compression, "it is"), func(t *testing.T) {
				h := *h
				h.t = t
				place := filepath.Join(h.dir, strings.NewReplacer(" ", "-", "'", "", ":", "-").Replace(strings.ToLower(out.name+"-as-"+cmp.Or(compression, "it-is"))))
				if out.kind == inRegistry {
					place = fmt.Sprintf("%s/%s:1", r.Host, filepath.Base(place))
				}
				h.run(oakum, out.write(place, compression)...)
				w := written{testHome: &h, kind: out.kind, place: place, id: id, mediaTypes: mediaTypes, loaded: out.loaded}
				if strings.HasPrefix(out.name, "save") {
					w.save = out.write
				}
				w.bySkopeo(want)
				w.byCrane()
				w.byOakum(r)
				if the := fmt.Sprint(out.kind, mediaTypes); !slow[the] {
					slow[the] = true
					w.byPodman()
					if !strings.HasPrefix(compression, "zstd") { // Debian's umoci knows no zstd
						w.byUmoci(want)
					}
				}
			})
		}
	}
}

// written is an image that was written somewhere.
type written struct {
	*testHome
	kind       kind
	place      string
	id         string
	mediaTypes []string
	loaded     bool
	save       func(place, of string) []string // how it was saved, else nil
}

// ref names it as skopeo and podman do.
func (w written) ref() string {
	if w.kind == inRegistry {
		return "docker://" + w.place
	}
	return string(w.kind) + ":" + w.place
}

func (w written) bySkopeo(want *imagetree.Image) {
	w.t.Helper()
	dir := filepath.Join(w.t.TempDir(), "copy")
	w.run("skopeo", "copy", "--quiet", "--src-tls-verify=false", w.ref(), "dir:"+dir)
	got, err := imagetree.Read(dir)
	if err != nil {
		w.t.Fatalf("as skopeo copied it: %v", err)
	}
	for _, difference := range append(imagetree.CompareFiles(got.Files.Lines(), want.Files.Lines()), imagetree.CompareSettings(got.Settings(), want.Settings())...) {
		w.t.Errorf("as skopeo copied it: %s", difference)
	}
}

// byCrane reads it with the library of crane, which checks all digests, sizes and diff IDs.
func (w written) byCrane() {
	w.t.Helper()
	img, err := w.crane()
	if err == nil {
		err = checkLayers(img)
	}
	if err != nil {
		w.t.Errorf("by crane: %v", err)
		return
	}
	if d, err := img.ConfigName(); err != nil || d.Hex != w.id {
		w.t.Errorf("by crane: the configuration is %s, %v, want %s", d, err, w.id)
	}
	m, err := img.Manifest()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, l := range m.Layers {
		if w.kind != dockerArchive && !slices.Contains(w.mediaTypes, string(l.MediaType)) {
			w.t.Errorf("a layer is %s, want one of %q", l.MediaType, w.mediaTypes)
		}
	}
}

// checkLayers reads all layers as they are and as they were before they were compressed. (Package
// validate takes all for gzip.)
func checkLayers(img v1.Image) error {
	config, err := img.ConfigFile()
	if err != nil {
		return err
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for i, l := range layers {
		d, err := l.Digest()
		if err != nil {
			return err
		}
		size, err := l.Size()
		if err != nil {
			return err
		}
		for _, stream := range []struct {
			open func() (io.ReadCloser, error)
			want v1.Hash
			size int64
		}{{l.Compressed, d, size}, {l.Uncompressed, config.RootFS.DiffIDs[i], -1}} {
			r, err := stream.open()
			if err != nil {
				return err
			}
			got, n, err := v1.SHA256(r)
			if err = errors.Join(err, r.Close()); err != nil {
				return fmt.Errorf("layer %s: %w", d, err)
			}
			if got != stream.want || stream.size >= 0 && n != stream.size {
				return fmt.Errorf("layer %s: it has the digest %s and %d bytes, want %s and %d", d, got, n, stream.want, stream.size)
			}
		}
	}
	return nil
}

func (w written) crane() (v1.Image, error) {
	switch w.kind {
	case dockerArchive:
		return tarball.ImageFromPath(w.place, nil)
	case inRegistry, directory: // its library for the one would bring Docker's client along, and has none for the other
		dir := filepath.Join(w.t.TempDir(), "layout")
		w.run("skopeo", "copy", "--quiet", "--preserve-digests", "--src-tls-verify=false", w.ref(), "oci:"+dir)
		return layoutImage(dir)
	}
	return layoutImage(w.layout())
}

// layout is the directory of an OCI layout, which an archive of one has inside.
func (w written) layout() string {
	if w.kind == ociLayout {
		return w.place
	}
	dir := filepath.Join(w.t.TempDir(), "layout")
	if err := os.Mkdir(dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	w.run("tar", "-xf", w.place, "-C", dir)
	return dir
}

func layoutImage(dir string) (v1.Image, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	m, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	if len(m.Manifests) != 1 {
		return nil, fmt.Errorf("%d images", len(m.Manifests))
	}
	return index.Image(m.Manifests[0].Digest)
}

// byPodman loads it into a store of its own.
func (w written) byPodman() {
	w.t.Helper()
	store := []string{"--root", filepath.Join(w.dir, "data/other"), "--runroot", filepath.Join(w.dir, "run/other"), "--storage-driver", "overlay"}
	podman := func(args ...string) string {
		w.t.Helper()
		return w.run("podman", append(slices.Clone(store), args...)...)
	}
	podman("rmi", "-a", "-f")
	switch w.kind {
	case ociArchive, dockerArchive:
		podman("load", "-q", "-i", w.place)
	case inRegistry:
		podman("pull", "-q", "--tls-verify=false", w.place)
	default:
		podman("pull", "-q", w.ref())
	}
	if ids := strings.Fields(podman("images", "-q", "--no-trunc")); len(ids) != 1 || ids[0] != "sha256:"+w.id {
		w.t.Errorf("podman has %q, want %s", ids, w.id)
	}
	if out := podman("run", "--rm", "--network", "none", w.id); out != "text\n" {
		w.t.Errorf("podman's container says %q", out)
	}
}

// byUmoci unpacks it.
func (w written) byUmoci(want *imagetree.Image) {
	if w.kind != ociLayout && w.kind != ociArchive {
		return
	}
	w.t.Helper()
	root := w.umoci(w.layout())
	for _, file := range []string{"d/file", "d/hard", "bin/busybox"} {
		info, err := os.Lstat(filepath.Join(root, file))
		if err != nil || len(want.Files[file].Content) == 0 {
			w.t.Errorf("as umoci unpacked it: %s: %v, %v", file, info, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(root, "d/link")); err == nil {
		w.t.Error("as umoci unpacked it: d/link is there, which a later layer removes")
	}
}

// umoci unpacks the image of a layout.
func (h *testHome) umoci(layout string) (root string) {
	h.t.Helper()
	tags := strings.Fields(h.run("umoci", "list", "--layout", layout))
	if len(tags) != 1 {
		h.t.Fatalf("the tags of the layout: %q", tags)
	}
	root = filepath.Join(h.t.TempDir(), "root")
	h.run("umoci", "raw", "unpack", "--rootless", "--image", layout+":"+tags[0], root)
	return root
}

// byOakum reads it into another store, and writes that to a registry: where it came from one, its
// digest is the same.
func (w written) byOakum(r *chaos.Registry) {
	w.t.Helper()
	root := filepath.Join(w.dir, "data/own")
	own := func(args ...string) string {
		w.t.Helper()
		return w.run(oakum, append([]string{"--root", root, "--runroot", filepath.Join(w.dir, "run/own")}, args...)...)
	}
	read := []string{"pull", "-q", "--tls-verify=false", w.ref()}
	if w.loaded {
		read = []string{"load", "-q", "-i", w.place}
	}
	out := own(read...)
	if id := strings.TrimPrefix(strings.TrimSpace(out), "sha256:"); id != w.id {
		w.t.Errorf("oakum took over %q, want %s", out, w.id)
	}
	if w.save != nil {
		own(w.save(w.place+".again", "")...)
		w.run("cmp", w.place, w.place+".again")
	}
	again := []string{"push", "-q", "--tls-verify=false"}
	if !strings.Contains(w.mediaTypes[0], "+") {
		again = append(again, "--disable-compression") // they would be compressed on their way else
	}
	own(append(again, w.id, r.Host+"/again:1")...)
	own("rmi", "-f", w.id)
	if w.kind != inRegistry {
		return
	}
	repository, tag, _ := strings.Cut(strings.TrimPrefix(w.place, r.Host+"/"), ":")
	_, before := r.Manifest(repository, tag)
	if _, after := r.Manifest("again", "1"); string(after) != string(before) {
		w.t.Errorf("from the registry and back, the manifest is\n%s\nand was\n%s", after, before)
	}
}

// What leaves as files is what skopeo and umoci find in the image.
func TestFilesAreThoseOfTheImage(t *testing.T) {
	h := newHome(t)
	h.context("build", "FROM busybox\nRUN mkdir /d && echo text >/d/file && ln -s file /d/link && ln /d/file /d/hard && chmod 4711 /d/hard\n"+
		"RUN rm -r /d/link /usr && chown 1:2 /d && mkfifo /d/pipe && mkdir -m 1777 /d/all && ln -s ../../../etc /d/out\n")
	at := func(name string) string { return filepath.Join(h.dir, name) }
	h.run(oakum, "build", "-q", "-t", "app", "-o", "type=tar,dest="+at("app.tar"), "-o", at("files"), "-o", "type=oci,tar=false,dest="+at("layout"), "build")
	image := h.export("localhost/app")
	delete(image.Files, "") // the root itself, which a layer may have
	tar, err := imagetree.ReadTar(at("app.tar"))
	if err != nil {
		t.Fatal(err)
	}
	delete(tar, "")
	for _, difference := range imagetree.CompareFiles(tar.Lines(), image.Files.Lines()) {
		t.Errorf("in the tar: %s", difference)
	}
	files, err := imagetree.ReadDir(at("files"))
	if err != nil {
		t.Fatal(err)
	}
	for _, difference := range imagetree.CompareFiles(files.Lines(), image.Files.Bare().Lines()) {
		t.Errorf("in the directory: %s", difference)
	}
	unpacked, err := imagetree.ReadDir(h.umoci(at("layout")))
	if err != nil {
		t.Fatal(err)
	}
	for _, difference := range imagetree.CompareFiles(files.Lines(), unpacked.Lines()) {
		t.Errorf("in the directory, and as umoci unpacked it: %s", difference)
	}
	if len(files) < 20 || files["d/hard"] == nil {
		t.Errorf("%d files", len(files))
	}
}
