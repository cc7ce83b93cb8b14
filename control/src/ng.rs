//! NG protocol over UDP, as Kamailio's and OpenSIPS's rtpengine modules speak it.
