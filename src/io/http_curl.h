/* SPDX-License-Identifier: Apache-2.0
 * What http.c and http_stream.c share; for no one else, since libcurl shows here. */
#pragma once

#include <curl/curl.h>
#include <stdbool.h>

#include "io/http.h"

/** http_curl_set_transport - put the handle's options on @easy. Return: whether libcurl took all */
bool http_curl_set_transport(const struct http *h, CURL *easy);
/** http_curl_is_tls_code - does @code say that TLS failed? */
bool http_curl_is_tls_code(CURLcode code);
