package enclave

import _ "embed"

// amazonRoots are Amazon Trust Services' roots (Amazon Root CA 1 to 4 and
// Starfield Services Root G2, www.amazontrust.com/repository), under which
// KMS endpoints are believed in production. They are part of the image.
//
//go:embed roots/amazon.pem
var amazonRoots []byte
