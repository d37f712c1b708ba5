package main

import "strings"

// transports begin what is no name of an image but a place for one. What to use instead
// of a name like that comes after.
var transports = [][2]string{
	{"oci-archive:", "--output type=oci,dest=FILE writes the archive when the image is built, and oakum push IMAGE oci-archive:FILE later"},
	{"docker-archive:", "--output type=docker,dest=FILE writes the archive when the image is built, and oakum push IMAGE docker-archive:FILE later"},
	{"docker://", "leave docker:// away, and push the image by --push or oakum push"},
	{"containers-storage:", "leave containers-storage: away; the image is put into the store"},
	{"oci:", "oakum push IMAGE oci:DIR writes a layout; the name oci itself is localhost/oci"},
	{"dir:", "oakum push IMAGE dir:DIR writes the directory; the name dir itself is localhost/dir"},
	{"docker-daemon:", "oakum push IMAGE docker-archive:FILE writes an archive that docker load reads"},
	{"ostree:", "there is no such transport here"},
	{"sif:", "there is no such transport here"},
}

// checkNames checks the names that flag gives an image.
func checkNames(flag string, names []string) error {
	for _, name := range names {
		for _, t := range transports {
			if strings.HasPrefix(name, t[0]) {
				err := usagef("%s %q is not the name of an image", flag, name)
				err.hint = t[1]
				return err
			}
		}
	}
	return nil
}

// hasRegistry says that a name begins with a registry's, as names do after a push.
func hasRegistry(name string) bool {
	host, _, ok := strings.Cut(name, "/")
	return ok && (strings.ContainsAny(host, ".:") || host == "localhost")
}
