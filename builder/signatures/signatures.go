// Package signatures gives a program checks of the signatures that a policy.json may demand of images,
// those of GPG and of sigstore (containers-policy.json(5)): imported for that effect alone, as database
// drivers are,
//
//	import _ "github.com/oakum-build/oakum/builder/signatures"
//
// it lets images be pulled that such rules allow. It needs the build tag containers_image_openpgp, which chooses
// checks in Go; built without it, it has no effect, and an image that has to be signed is refused with a
// *builder.HostError, as it is in a program that does not import the package. Rules that demand no
// signatures hold in every program. The command oakum imports it.
package signatures
